"""ensemble: the mean of what several networks answer that differ in their seed alone, as one network.

Each errs in part in a way of its own, which a mean evens out (Lakshminarayanan, Pritzel & Blundell 2017, arXiv
1612.01474). It takes as many times as long; `models.taught` lets one network learn what all of them answer.

    python -m models.ensemble --data data/prepared/kaggle15-none --runs runs/kaggle15/dsnt-best-best-none-s?

Trains nothing. A run like any other; its seed, epochs and history are those of the first, its parameters and seconds
those of all, and in its config.json `parts` tells of each.
"""

import argparse
import shlex
import sys
from pathlib import Path

from data_prep.faceset import DataError
from data_prep.missing import TREATMENTS
from data_prep.prepared import load
from models import asymmetry
from models.apply import load_network
from models.backend import import_keras
from models.provenance import provenance
from models.run_output import write_run
from models.runs import Run, check_replaces, publish, read_run
from models.trainer import check_not_seen, same_faces

# Of a run's config.json: what all have in common, what is added up, and what `parts` tells of each.
COMMON = (
    *("model", "options", "recipe", "precision", "treatment", "teacher", "data", "split", "schema", "image_size"),
    asymmetry.KEY,
)
SUMS = ("parameters", "train_seconds", "train_cpu_seconds")
MEAN_OF = ", mean of "  # in what tables call it
RESUMED = "resumed_after_epochs"
OWN = ("seed", "epochs", "best_epoch", RESUMED, "commit", "command", *SUMS)
NEEDED = ("seed", "model", "recipe", "treatment", "data", "command", *SUMS)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.ensemble", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders with a model.keras")
    parser.add_argument("--data", type=Path, required=True, help="the prepared data set that they were trained on")
    parser.add_argument(
        "--output", type=Path, help="default: runs/<data>/<first run without its seed>-mean-of-<number>"
    )
    args = parser.parse_args(argv)
    command = shlex.join(["python", "-m", "models.ensemble", *(sys.argv[1:] if argv is None else argv)])
    try:
        print(f"{ensemble(args.runs, args.data, args.output, command)}: predictions written")
    except (DataError, OSError) as error:
        print(f"models.ensemble: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("models.ensemble: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def ensemble(folders: list[Path], data_folder: Path, output: Path | None, command: str) -> Path:
    """Write the run whose network is the mean of those of `folders`; returns its folder.

    Raises DataError where the runs differ in more than their seed or were trained on other data, or `output` is
    another run.
    """
    runs, data = [read_run(folder) for folder in folders], load(data_folder)
    check_alike(runs)
    treatment = runs[0].config["treatment"]
    if (wanted := treatment if treatment in TREATMENTS else "none") != data.manifest["treatment"]:
        raise DataError(
            f"{data_folder} was prepared with --missing {data.manifest['treatment']}; the runs need {wanted}"
        )
    for run in runs:
        check_not_seen(run, data)
        if run.config["data"] != data.name or not same_faces(run, data):
            raise DataError(f"{run.folder} was not trained on the faces of {data_folder}")
    first = runs[0].config
    without_seed = runs[0].name.removesuffix(f"-s{first['seed']}")
    output = output or Path("runs") / data.name / f"{without_seed}-mean-of-{len(runs)}"
    config = {
        **{key: value for key, value in first.items() if key != RESUMED},
        **{key: round(sum(run.config[key] for run in runs), 1) for key in SUMS},
        "run": output.name,
        "model": f"{first['model']}{MEAN_OF}{len(runs)}",
        "trained_with": first["command"],
        "parts": {run.name: {key: run.config[key] for key in OWN if key in run.config} for run in runs},
        **provenance(import_keras().backend.backend(), command),
    }
    check_replaces(output, config)
    network = mean([load_network(run.folder / "model.keras") for run in runs])
    with publish(output) as aside:
        write_run(aside, network, config, runs[0].history, data)
    return output


def check_alike(runs: list[Run]) -> None:
    """Raise DataError where runs are fewer than two, one twice, or differ in more than their seed."""
    if len(runs) < 2:
        raise DataError("--runs names one run; two or more are accepted")
    for run in runs:
        if lacking := [key for key in NEEDED if key not in run.config]:
            raise DataError(f"{run.folder} holds a damaged run record: config.json lacks {', '.join(lacking)}")
        if different := [key for key in COMMON if run.config.get(key) != runs[0].config.get(key)]:
            raise DataError(
                f"{run.folder} and {runs[0].folder} differ in {', '.join(different)}, not in the seed alone"
            )
    seeds = [run.config["seed"] for run in runs]
    if len(set(seeds)) < len(seeds):
        raise DataError(f"--runs names a seed twice: {', '.join(map(str, seeds))}")


def mean(networks: list):
    """One network of several: gray images [B, H, W] -> the mean of their keypoints [B, K, 2] in pixels.

    Built of Keras' own layers, so a saved model loads anywhere.
    """
    keras = import_keras()
    images = keras.Input(networks[0].input.shape[1:], name="images")
    # Wrapped, since all bear the same name, and names must differ within a network.
    found = [
        keras.Model(network.input, network.output, name=f"member{number}")(images)
        for number, network in enumerate(networks, start=1)
    ]
    return keras.Model(images, keras.layers.Average(dtype="float32", name="keypoints")(found), name="ensemble")


if __name__ == "__main__":
    sys.exit(main())
