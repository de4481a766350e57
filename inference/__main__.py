"""The points of the faces in photos.

    python -m inference holiday.jpg --output points
    python -m inference photos/ 'more/*.png' --output points --run runs/kaggle15/RUN --pts
    python -m inference face.png --whole-image --model keypoints.onnx --output points

Writes NAME_keypoints.jpg or .png, the photo with its points drawn; keypoints.csv (file, face, point, x, y) and
keypoints.json. Coordinates are pixels of the photo as it is shown, turned by its EXIF orientation: x to the right, y
down, (0, 0) the centre of the top left pixel; in .pts files that is (1, 1). Left and right are the subject's. Face 1
is the largest.

A photo without a face is named and counted, and no error. A file that cannot be read is named and left out; then the
exit code is 1. It is 2, and nothing is written, where no file could be read or the arguments are wrong.
"""

import argparse
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from data_prep.faceset import DataError
from models.pretrained import default_run

if TYPE_CHECKING:
    from inference.detectors import Detector, Found
    from inference.photos import Photo

AT_ONCE = 50_000_000  # pixels of the photos that are held in memory and predicted together; one may have as many
THREADS = min(4, os.cpu_count() or 1)  # that read, detect and draw; each may hold another photo, of 200 MB at most


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        return infer(args)
    except (DataError, OSError) as error:
        print(f"inference: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("inference: stopped; nothing was written", file=sys.stderr)
        return 130


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m inference", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="files, folders or patterns in quotes")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for all that is written")
    network = parser.add_mutually_exclusive_group()
    network.add_argument("--run", type=Path, metavar="DIR", help="run folder (default: the repository's network)")
    network.add_argument("--model", type=Path, metavar="FILE", help=".onnx (needs no Keras) or .keras file")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--detector", choices=("haar", "yunet"), default="haar", help="default: %(default)s")
    box_help = "a face, from the middle of the forehead to below the lips, as Haar draws it; may be repeated"
    where.add_argument("--box", type=box, action="append", metavar="X,Y,W,H", help=box_help)
    where.add_argument("--whole-image", action="store_true", help="each photo is one face's crop")
    parser.add_argument("--detector-model", type=Path, metavar="FILE", help="yunet's .onnx file")
    passes_help = "2: predict again from a crop by the first points, and take the mean (default: %(default)s)"
    parser.add_argument("--passes", type=int, choices=(1, 2), default=2, help=passes_help)
    parser.add_argument("--pts", action="store_true", help="a 300-W .pts file per face too: NAME_FACE.pts")
    return parser.parse_args(argv)


def box(text: str) -> tuple[float, float, float, float]:
    x, y, width, height = (float(part) for part in text.split(","))
    if not (1 <= width < 1e6 and 1 <= height < 1e6 and abs(x) < 1e6 and abs(y) < 1e6):
        raise ValueError
    return x, y, width, height


def infer(args: argparse.Namespace) -> int:
    """Do all photos, print what came of them, and return the exit code. Raises DataError where it cannot begin."""
    import cv2

    from inference import output
    from inference.network import open_network
    from inference.photos import find, quietly, shown

    if (args.detector == "yunet") != (args.detector_model is not None):
        raise DataError("--detector yunet and --detector-model are given together or not at all")
    paths, wrong = find(args.photos)
    output.check_folder(args.output, paths)
    results = []
    if paths:
        network = open_network(args.model or (args.run or default_run()) / "model.keras")
        detect, names = detector(args, network.size), output.Names()
        how = "boxes given" if args.box else "whole image" if args.whole_image else args.detector
        cv2.setNumThreads(1)  # the pool has a photo for each core
        with quietly(), output.folder_aside(args.output) as aside, ThreadPoolExecutor(THREADS) as pool:
            looked_at = in_order(pool, partial(look_at, detect), tqdm(paths, desc="photos", unit="photo", disable=None))
            for part in in_parts(looked_at, wrong):
                photos, faces = [photo for _, photo, _ in part], find_faces(part, network, args.passes)
                named = [names.of(path) for path, _, _ in part]
                results += pool.map(partial(output.write_photo, aside, pts=args.pts), named, photos, faces)
            if results:
                about = {"network": network.name, "faces_from": how, "passes": args.passes, "left_out": wrong}
                output.write_tables(aside, results, about)
                output.publish(aside)
    for line in wrong:
        print(f"inference: error: {line}", file=sys.stderr)
    if not results:
        return 2
    empty = [result.file for result in results if not result.faces]
    for file in empty:
        print(f"inference: {file}: no face found", file=sys.stderr)
    faces = sum(len(result.faces) for result in results)
    said = f"{len(results)} photo(s), {faces} face(s), {len(empty)} photo(s) without a face, {len(wrong)} left out"
    print(f"{shown(args.output)}/: {said}")
    return 1 if wrong else 0


def detector(args: argparse.Namespace, size: int) -> "Detector":
    from inference import detectors

    if args.box:
        return detectors.told(size, args.box)
    if args.whole_image:
        return detectors.whole_image(size)
    return detectors.yunet(size, args.detector_model) if args.detector == "yunet" else detectors.haar(size)


def in_order(pool: Executor, work, items: Iterable) -> Iterator[Future]:
    """`work` on each of the items, in their order. As many are begun before they are asked for as there are threads."""
    begun = deque()
    for item in items:
        begun.append(pool.submit(work, item))
        if len(begun) > THREADS:
            yield begun.popleft()
    yield from begun


def look_at(detect: "Detector", path: Path) -> tuple[Path, "Photo", list["Found"]]:
    """A photo and where its faces are. Raises DataError where it cannot be read."""
    from inference.photos import read

    photo = read(path)
    return path, photo, detect(photo)


def in_parts(looked_at: Iterable[Future], wrong: list[str]) -> Iterator[list[tuple]]:
    """What `look_at` found, as much as is done together. A line about each failure is added to `wrong`."""
    part, pixels = [], 0
    for future in looked_at:
        try:
            part.append(future.result())
        except DataError as error:
            wrong.append(str(error))
            continue
        pixels += part[-1][1].gray.size
        if pixels >= AT_ONCE:
            yield part
            part, pixels = [], 0
    if part:
        yield part


def find_faces(part: list[tuple], network, passes: int) -> list[list]:
    """The faces of each photo; those of all are predicted together."""
    from inference.locate import locate
    from inference.output import Face

    grays = [photo.gray for _, photo, found in part for _ in found]
    points = iter(locate(grays, [face.matrix for *_, found in part for face in found], network, passes))
    return [[Face(face.box, next(points)) for face in found] for *_, found in part]


if __name__ == "__main__":
    sys.exit(main())
