"""A submission to Kaggle's Facial Keypoints Detection: the coordinates that its lookup table asks for.

    python -m evaluation.submission --test test.zip --lookup IdLookupTable.csv --output submission.csv
    python -m evaluation.submission --run runs/kaggle/v1-quick-none-s0 --test test.zip --lookup IdLookupTable.csv
    python -m evaluation.submission --mirrored --test test.zip --lookup IdLookupTable.csv

Without --run the network that comes with the repository predicts; several runs give the mean of their predictions,
--mirrored that of an image and its mirror image (models/second_look.py). Kaggle's faces follow two labelling rules; an
image of which no more than the second's four points are asked follows that one. A network trained by source knows
both; for others --second-source-run names runs for such images. What a source's labels have to one side and the network
did not learn (models/asymmetry.py) is added.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_prep.faceset import DataError, FaceSet
from data_prep.schema import KAGGLE15, SECOND_SOURCE_POINTS
from data_prep.sources.kaggle import TEST, read_test
from data_prep.sources.kaggle_lookup import LOOKUP, Lookup, read_lookup
from evaluation import collect
from models import asymmetry
from models.apply import load_network
from models.fitting import PREDICT_BATCH
from models.pretrained import default_run
from models.run_output import keypoints
from models.runs import RECORD_FILES, read_run
from models.second_look import SecondLook

SECOND = np.isin(KAGGLE15.points, SECOND_SOURCE_POINTS)  # bool [K]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.submission",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run_help = "run folders with a model.keras; of several the mean prediction (default: the repository's network)"
    parser.add_argument("--run", type=Path, nargs="+", metavar="DIR", help=run_help)
    second_help = "run folders for the images of the second label source (default: those of --run)"
    parser.add_argument("--second-source-run", type=Path, nargs="+", metavar="DIR", help=second_help)
    test_help = "the competition's test.csv, test.zip, its whole zip, or a folder with one of them"
    parser.add_argument("--test", type=Path, required=True, help=test_help)
    lookup_help = "its IdLookupTable.csv, its whole zip, or a folder with one of them"
    parser.add_argument("--lookup", type=Path, required=True, help=lookup_help)
    parser.add_argument("--output", type=Path, default=Path("submission.csv"), help="default: %(default)s")
    parser.add_argument("--mirrored", action="store_true", help="mean of each image and its mirror image")
    args = parser.parse_args(argv)
    try:
        runs = args.run or [default_run()]
        submit(runs, args.second_source_run or runs, args.test, args.lookup, args.output, args.mirrored)
    except (DataError, OSError) as error:
        print(f"evaluation.submission: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluation.submission: stopped", file=sys.stderr)
        return 130
    return 0


def submit(
    runs: list[Path],
    second_source_runs: list[Path],
    test: Path,
    lookup_path: Path,
    output: Path,
    mirrored: bool = False,
) -> None:
    """Write the submission and print what is in it. Raises DataError where it cannot; then nothing is written."""
    folders = {*runs, *second_source_runs}
    of_runs = (folder / name for folder in folders for name in (*RECORD_FILES, "model.keras"))
    check_output(output, [TEST.find(test), LOOKUP.find(lookup_path), *of_runs])
    lookup, faces = read_lookup(lookup_path), read_test(test)
    places = places_of(lookup, faces)
    sources = label_sources(asked_points(lookup, places, len(faces)))
    for folder in folders:
        check_run(folder, faces)

    points = np.full(faces.keypoints.shape, np.nan)
    for source, folders in ((1, runs), (2, second_source_runs)):
        if (of_source := sources == source).any():
            points[of_source] = mean_prediction(folders, faces.images[of_source], source, mirrored)
    locations = points.reshape(len(faces), -1)[places, lookup.coordinates]
    clipped = clip(locations, lookup.coordinates, faces.images.shape[1:])
    write(output, lookup.row_ids, clipped)

    moved = int((clipped != locations).sum())
    counts = [f"{int((sources == source).sum())} of label source {source}" for source in (1, 2)]
    print(f"{output}: {len(lookup):,} rows for {int((sources > 0).sum()):,} images, {' and '.join(counts)}")
    if moved:
        print(f"{moved} location(s) clipped to the image")
    if unasked := int((sources == 0).sum()):
        print(f"{unasked} test image(s) that the lookup asks nothing of")


def check_output(output: Path, inputs: Iterable[Path]) -> None:
    """Raise DataError where the output is no plain file, is one of these, or could not be written after the work."""
    if output.is_dir() or output.resolve() in {path.resolve() for path in inputs}:
        raise DataError(f"--output {output} is {'a folder' if output.is_dir() else 'an input'}; name a file of its own")
    if output.exists() and not output.is_file():
        raise DataError(f"--output {output} is a device or a pipe; a file is accepted")
    place = next(path for path in output.resolve().parents if path.exists())  # folders below it are made
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise DataError(f"--output {output} cannot be written: {place} is no folder that takes new files")


def places_of(lookup: Lookup, faces: FaceSet) -> np.ndarray:
    """int64 [R]: the position among the test faces of each row's image. Raises DataError for one that is not there."""
    position = {int(image_id): place for place, image_id in enumerate(faces.ids)}
    absent = sorted({int(i) for i in lookup.image_ids} - set(position))
    if absent:
        raise DataError(f"the lookup asks for {len(absent)} image(s) that the test set lacks, such as {absent[0]}")
    return np.array([position[int(image_id)] for image_id in lookup.image_ids], dtype=np.int64)


def asked_points(lookup: Lookup, places: np.ndarray, count: int) -> np.ndarray:
    """bool [N, K]: the points of each of `count` images of which the lookup asks a coordinate."""
    asked = np.zeros((count, len(KAGGLE15)), dtype=bool)
    asked[places, lookup.coordinates // 2] = True
    return asked


def label_sources(asked: np.ndarray) -> np.ndarray:
    """int64 [N], by the points asked, bool [N, K]: 2 where all are the second label source's, else 1; 0 for none.

    This is the one place that knows which rule an image follows. A network with an output for each rule
    (`models.label_rules`) tells the two apart; for any other there is --second-source-run.
    """
    return np.where(asked[:, ~SECOND].any(axis=1), 1, np.where(asked.any(axis=1), 2, 0))


def check_run(folder: Path, faces: FaceSet) -> None:
    """Raise DataError for a run that is not finished, or not of these keypoints and this size of image."""
    config = collect.read(folder).config
    for what, of_run, of_test in (
        ("keypoints", config["schema"], faces.schema.name),
        ("image size", config["image_size"], list(faces.images.shape[1:])),
    ):
        if of_run != of_test:
            raise DataError(f"{folder} was trained for {what} {of_run}, the test set has {of_test}")


def mean_prediction(folders: list[Path], images: np.ndarray, source: int, mirrored: bool = False) -> np.ndarray:
    """Mean over runs of their predictions, float64 [N, K, 2] in pixels, for images uint8 [N, H, W] of one source."""
    sources, found = np.full(len(images), source), []
    for folder in folders:
        lean = asymmetry.of_config(read_run(folder).config, {"kind": "kaggle"})
        found.append(keypoints(_predict(folder, images, mirrored), sources, lean))
    return np.mean(found, axis=0, dtype=np.float64)


def _predict(folder: Path, images: np.ndarray, mirrored: bool) -> np.ndarray:
    network = load_network(folder / "model.keras")
    network = SecondLook(network) if mirrored else network
    starts = tqdm(range(0, len(images), PREDICT_BATCH), desc=folder.name, unit=" batches", disable=None)
    points = np.concatenate([np.asarray(network.predict_on_batch(images[i : i + PREDICT_BATCH])) for i in starts])
    if not np.isfinite(points).all():
        raise DataError(f"{folder} predicts values that are no numbers")
    return points


def clip(locations: np.ndarray, coordinates: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Locations [R] in pixels moved into the image, whose pixel centres are 0 to width - 1 and 0 to height - 1.

    coordinates: int [R], as in `Lookup`: x even, y odd. image_size: height, width.
    """
    height, width = image_size
    return np.clip(locations, 0, np.where(coordinates % 2 == 0, width - 1, height - 1))


def write(output: Path, row_ids: np.ndarray, locations: np.ndarray) -> None:
    """`RowId,Location`, a line per row in the order given; written aside, so that a failure leaves no half file."""
    lines = [f"{row_id},{location:.4f}" for row_id, location in zip(row_ids, locations, strict=True)]
    output = output.resolve()  # where a link leads
    output.parent.mkdir(parents=True, exist_ok=True)
    aside = output.with_name(output.name + ".partial")
    try:
        aside.write_text("\n".join(["RowId,Location", *lines]) + "\n")
        os.replace(aside, output)
    finally:
        aside.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
