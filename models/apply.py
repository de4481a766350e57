"""Apply a trained network to another data set: how well does it do on faces of a kind it never saw?

    python -m models.apply --run runs/synthetic/v1-quick-ffill-s0 --data data/prepared/kaggle15
    python -m models.apply --run runs/kaggle15/RUN --data data/prepared/kaggle15-none --mirrored

--mirrored: the mean of an image and its mirror image (models/second_look.py), also on the data it was trained on.
Trains nothing. Writes a light record, which `python -m evaluation` puts into that data set's table as a row
with the data it was trained on.
"""

import argparse
import importlib.util
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from data_prep.faceset import DataError
from data_prep.prepared import load
from models import asymmetry, pretrained
from models.backend import import_keras
from models.provenance import provenance
from models.run_output import predict
from models.runs import check_replaces, publish, read_run, write_record
from models.second_look import SecondLook
from models.trainer import about, check_not_seen

NEEDED = ("run", "data", "data_source", "split", "schema", "image_size", "command")  # of a run's config.json


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.apply", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="run folder with a model.keras")
    parser.add_argument("--data", type=Path, required=True, help="prepared data set to predict")
    parser.add_argument("--mirrored", action="store_true", help="look at each image's mirror image too")
    output_help = "default: runs/<data>/<run>-from-<data of the run>, or -mirrored on its own data"
    parser.add_argument("--output", type=Path, help=output_help)
    args = parser.parse_args(argv)
    command = shlex.join(["python", "-m", "models.apply", *(sys.argv[1:] if argv is None else argv)])
    try:
        print(f"{apply(args.run, args.data, args.output, command, args.mirrored)}: predictions written")
    except (DataError, OSError) as error:
        print(f"models.apply: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("models.apply: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def apply(folder: Path, data_folder: Path, output: Path | None, command: str, mirrored: bool = False) -> Path:
    """Write the record of a run's network on other data; returns its folder.

    What was taken off the labels that it learned (`models.asymmetry`) is added on data of the same kind.
    Raises DataError where the network's keypoints or image size are not the data's, or the run's config is damaged.
    """
    run, data = read_run(folder), load(data_folder)
    if lacking := [key for key in NEEDED if not run.config.get(key)]:
        raise DataError(f"{folder} holds a damaged run record: config.json lacks {', '.join(lacking)}")
    image_size = list(data.test.images.shape[1:])
    for what, of_run, of_data in (
        ("keypoints", run.config["schema"], data.schema.name),
        ("image size", run.config["image_size"], image_size),
    ):
        if of_run != of_data:
            raise DataError(f"{folder} was trained for {what} {of_run}, {data_folder} has {of_data}")
    check_not_seen(run, data)
    network = load_network(folder / "model.keras")

    trained_on = run.config["data"]
    ending = f"-from-{trained_on}" if trained_on != data.name or not mirrored else ""
    ending += "-mirrored" if mirrored else ""
    output = output or Path("runs") / data.name / f"{run.name}{ending}"
    lean = asymmetry.of_config(run.config, data.manifest["source"])
    config = {
        **{key: value for key, value in run.config.items() if key != asymmetry.KEY},
        **asymmetry.for_config(lean),
        **about(data),
        "run": output.name,
        "model": run.config["model"] + (" and mirrored" if mirrored else ""),
        "trained_on": trained_on,
        "trained_with": run.config["command"],
        **provenance(import_keras().backend.backend(), command),
    }
    check_replaces(output, config)
    if mirrored:
        network = SecondLook(network)
    # Scored on true labels alone: what a treatment filled in on this data the network never met.
    splits = {name: replace(getattr(data, name), filled=getattr(data, name).keypoints) for name in ("val", "test")}
    with publish(output) as aside:
        found = {name: predict(network, split, lean) for name, split in splits.items()}
        write_record(aside, config, run.history, **found)
    return output


def load_network(path: Path):
    """A saved network, in Keras' safe mode. Raises DataError where the file is missing, changed or not one."""
    if not path.is_file():
        raise DataError(f"{path} does not exist (a light record has no network; train the run again)")
    pretrained.check(path)
    if importlib.util.find_spec("keras") is None:
        raise DataError(f"{path} needs Keras (pip install -r requirements.txt)")
    keras = import_keras()
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged file makes Keras and zipfile raise nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} is not a Keras model file ({reason[:200]})") from error


if __name__ == "__main__":
    sys.exit(main())
