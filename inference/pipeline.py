"""Many photos: read, detected and drawn by several threads, predicted together, in order, in bounded memory."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

from data_prep.faceset import DataError
from inference import output
from inference.detectors import Detector, Found
from inference.locate import locate
from inference.network import Network
from inference.output import Drawing, Face, Result
from inference.photos import Photo, quietly, read

AT_ONCE = 50_000_000  # pixels of the photos that are held in memory and predicted together; one may have as many
THREADS = min(4, os.cpu_count() or 1)  # that read, detect and draw; each may hold another photo, of 200 MB at most


def do_all(
    paths: list[Path], aside: Path, wrong: list[str], *, detect: Detector, network: Network, passes: int,
    drawing: Drawing, pts: bool,
) -> list[Result]:  # fmt: skip
    """Draw the photos that can be read into a folder; a line about each that cannot is added to `wrong`."""
    import cv2

    results, names = [], output.Names()
    cv2.setNumThreads(1)  # the pool has a photo for each core
    with quietly(), ThreadPoolExecutor(THREADS) as pool:
        looked_at = in_order(pool, partial(look_at, detect), tqdm(paths, desc="photos", unit="photo", disable=None))
        for part in in_parts(looked_at, wrong):
            photos, faces = [photo for _, photo, _ in part], find_faces(part, network, passes)
            named = [names.of(path) for path, _, _ in part]
            results += pool.map(partial(output.write_photo, aside, drawing=drawing, pts=pts), named, photos, faces)
    return results


def in_order(pool: Executor, work, items: Iterable) -> Iterator[Future]:
    """`work` on each of the items, in their order. As many are begun before they are asked for as there are threads."""
    begun = deque()
    for item in items:
        begun.append(pool.submit(work, item))
        if len(begun) > THREADS:
            yield begun.popleft()
    yield from begun


def look_at(detect: Detector, path: Path) -> tuple[Path, Photo, list[Found]]:
    """A photo and where its faces are. Raises DataError where it cannot be read."""
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


def find_faces(part: list[tuple], network: Network, passes: int) -> list[list[Face]]:
    """The faces of each photo; those of all are predicted together."""
    grays = [photo.gray for _, photo, found in part for _ in found]
    crops = [network.from_kaggle(face.matrix) if face.detected else face.matrix for *_, found in part for face in found]
    answers = zip(*locate(grays, crops, network, passes), strict=True)
    return [[Face(face.box, *next(answers)) for face in found] for *_, found in part]
