"""The points of the faces in photos and videos, and glasses on them.

    python -m inference holiday.jpg --output points
    python -m inference photos/ 'more/*.png' --output points --run runs/kaggle15/RUN --pts
    python -m inference face.png --whole-image --points 68 --output points
    python -m inference holiday.jpg --glasses --hat --output dressed
    python -m inference --video talk.mp4 --output points

Writes NAME_keypoints.jpg or .png, the photo with its points drawn (with filters NAME_glasses and the like);
keypoints.csv (file, face, point, x, y, confidence) and keypoints.json. Coordinates are pixels of the photo as it is
shown, turned by its EXIF orientation: x to the right, y down, (0, 0) the centre of the top left pixel; in .pts files
that is (1, 1). Left and right are the subject's. Face 1 is the largest, or that of the first --box. A confidence is the
chance that a point is within a tenth of the distance of the eyes' centres, if there is a face at all
(inference/confidence.py); networks that draw no maps have none.

A photo without a face is named and counted, and no error. A file that cannot be read is named and left out; then the
exit code is 1. It is 2, and nothing is written, where no file could be read or the arguments are wrong.

A video or a camera's picture gives NAME_keypoints.mp4 and NAME_keypoints.csv, with the frame in its first column; faces
keep their numbers while they are followed, and their points are smoothed. The video has no sound. Ctrl-C ends it and
keeps what is done.
"""

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.faceset import DataError
from inference.filters import FILTERS
from models.pretrained import DEFAULTS, default_file

if TYPE_CHECKING:
    from inference.detectors import Detector
    from inference.network import Network
    from inference.output import Drawing


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        return infer_photos(args) if args.photos else infer_video(args)
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
    parser.add_argument(
        "photos", nargs="*", metavar="PHOTO", help="files, folders or patterns in quotes (./-a.jpg, not -a.jpg)"
    )
    moving = parser.add_mutually_exclusive_group()
    moving.add_argument("--video", type=Path, metavar="FILE", help="a video in place of photos")
    moving.add_argument("--camera", type=camera, metavar="N", help="a camera's picture, 0 being the first camera")
    parser.add_argument("--seconds", type=float, metavar="S", help="of a video or camera, after which to stop")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for all that is written")
    network = parser.add_mutually_exclusive_group()
    network.add_argument("--run", type=Path, metavar="DIR", help="run folder (default: the repository's network)")
    points_help = "of the repository's network (default: %(default)s)"
    network.add_argument("--points", type=int, choices=tuple(DEFAULTS), default=15, help=points_help)
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
    worn = parser.add_argument_group("filters", "put on in place of drawn points")
    glasses_help = "glasses, or your own: a picture with transparency"
    worn.add_argument("--glasses", nargs="?", const="", metavar="IMAGE.png", help=glasses_help)
    for name in FILTERS[1:]:
        worn.add_argument(f"--{name}", action="store_true", help=f"a {name}")
    args = parser.parse_intermixed_args(argv)
    if args.glasses and not args.photos and args.video is None and args.camera is None:
        parser.error(f"--glasses took {args.glasses} as its picture; name the photos before --glasses")
    if bool(args.photos) == (args.video is not None or args.camera is not None):
        parser.error("photos, --video or --camera: one of them is accepted, and needed")
    if args.photos and args.seconds is not None:
        parser.error("--seconds is for --video and --camera")
    if not args.photos and (args.pts or args.box or args.whole_image):
        parser.error("--pts, --box and --whole-image are for photos")
    return args


def camera(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**31:
        raise ValueError
    return number


def box(text: str) -> tuple[float, float, float, float]:
    x, y, width, height = (float(part) for part in text.split(","))
    if not (1 <= width < 1e6 and 1 <= height < 1e6 and abs(x) < 1e6 and abs(y) < 1e6):
        raise ValueError
    return x, y, width, height


def infer_photos(args: argparse.Namespace) -> int:
    """Do all photos, print what came of them, and return the exit code. Raises DataError where it cannot begin."""
    from inference import output
    from inference.photos import find, shown

    paths, wrong = find(args.photos)
    output.check_folder(args.output, [*paths, *own_glasses(args)])
    results = []
    if paths:
        from inference.pipeline import do_all

        network = open_network(args)
        detect, drawing = detector(args, network.size), drawing_of(args, network)
        how = "boxes given" if args.box else "whole image" if args.whole_image else args.detector
        with output.folder_aside(args.output) as aside:
            results = do_all(
                paths, aside, wrong, detect=detect, network=network, passes=args.passes, drawing=drawing, pts=args.pts
            )
            if results:
                about = {"network": network.name, "faces_from": how, "passes": args.passes, "left_out": wrong}
                output.write_tables(aside, results, network.schema.points, about)
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


def infer_video(args: argparse.Namespace) -> int:
    """Do a video or a camera's picture, and print what came of it. Raises DataError where it cannot begin."""
    from inference import output, video
    from inference.photos import shown

    if args.seconds is not None and not args.seconds > 0:
        raise DataError(f"--seconds is {args.seconds:g}; more than 0 is accepted")
    output.check_folder(args.output, [*([args.video] if args.video else []), *own_glasses(args)])
    network = open_network(args)
    detect, drawing = detector(args, network.size), drawing_of(args, network)
    source, name = (
        (args.camera, f"camera{args.camera}") if args.video is None else (args.video, output.stem(args.video))
    )

    def tracker(rate: float) -> video.Tracker:
        return video.Tracker(detect, network, rate)

    said = video.write_video(source, args.output, name, tracker, drawing, network.schema.points, args.seconds)
    print(f"{shown(args.output)}/: {said}")
    return 0


def own_glasses(args: argparse.Namespace) -> list[Path]:
    return [Path(args.glasses)] if args.glasses else []


def open_network(args: argparse.Namespace) -> "Network":
    from inference import network

    return network.open_network(args.model or (args.run / "model.keras" if args.run else default_file(args.points)))


def detector(args: argparse.Namespace, size: int) -> "Detector":
    """Raises DataError where --detector and --detector-model do not go together."""
    from inference import detectors

    if (args.detector == "yunet") != (args.detector_model is not None):
        raise DataError("--detector yunet and --detector-model are given together or not at all")
    if args.box:
        return detectors.told(size, args.box)
    if args.whole_image:
        return detectors.whole_image(size)
    return detectors.yunet(size, args.detector_model) if args.detector == "yunet" else detectors.haar(size)


def drawing_of(args: argparse.Namespace, network: "Network") -> "Drawing":
    """What is drawn on a face: its points, or the filters that were asked for, a hat last."""
    from functools import partial

    from inference.filters import get_filter, put_on_all
    from inference.output import Drawing, draw

    chosen = [name for name in FILTERS if getattr(args, name) not in (None, False)]
    if not chosen:
        return Drawing("keypoints", draw)
    put_on = {name: get_filter(name) for name in chosen}
    if args.glasses:
        from inference.filters import glasses

        (path,) = own_glasses(args)
        put_on["glasses"] = partial(glasses.put_on, picture=glasses.own(glasses.read_picture(path)))

    def dress(rgb, faces):
        return put_on_all(rgb, [network.fifteen(face.keypoints[None])[0] for face in faces], list(put_on.values()))

    return Drawing("_".join(chosen), dress)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # told to end, it leaves as little behind as by Ctrl-C
    sys.exit(main())
