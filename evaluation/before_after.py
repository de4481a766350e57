"""The same test faces before and after training: truth green, prediction magenta.

    python -m evaluation.before_after --run runs/youtube68/v1-quick-none-s0 --data data/prepared/youtube68

Builds the untrained network again from the run's seed and options. Writes results/<data>/before_after_<model>.png, or
into results/<data>/faces/, which git ignores, where the faces are not the project's own.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.prepared import Prepared, load, refuse_public

FACES = 6
ROWS = ("before training", "after training")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.before_after", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--run", type=Path, required=True, help="run folder with a model.keras")
    parser.add_argument("--data", type=Path, required=True, help="the prepared data set that it was tested on")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: results/<data of the run>")
    args = parser.parse_args(argv)
    try:
        print(f"{write(args.run, load(args.data), args.output)}: written")
    except (DataError, OSError) as error:
        print("evaluation.before_after: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluation.before_after: stopped", file=sys.stderr)
        return 130
    return 0


def write(folder: Path, data: Prepared, output: Path | None = None) -> Path:
    """Draw the picture of a run; returns its path.

    Raises DataError where the run was not tested on these faces, or git would see faces that are not the project's own.
    """
    from evaluation import collect, entries, faces
    from evaluation.output import DPI, file_name, write_together
    from models import asymmetry
    from models.apply import load_network
    from models.label_rules import answers

    run = collect.read(folder)
    if not np.array_equal(run.test.ids, data.test.ids):
        raise DataError(f"{data.folder} holds other test faces than {folder} was tested on")
    entry, output = entries.from_run(run), output or Path("results") / run.config["data"]
    name = f"before_after_{file_name(entry)}.png"
    if not faces.may_be_published(data.folder, entry):
        name = f"faces/{name}"
        refuse_public(output / name)
    shown = choose(data)
    images = np.asarray(data.test.images[shown])
    networks = (untrained(run, data), load_network(folder / "model.keras"))
    sources = data.test.sources[shown]
    lean = asymmetry.moves(asymmetry.of_config(run.config), sources, len(data.schema))
    predicted = [answers(network.predict_on_batch(images), sources) + lean for network in networks]
    figure = draw(entry.label, images, data.test.keypoints[shown], [np.asarray(p, np.float64) for p in predicted])
    write_together(output, {name: lambda path: figure.savefig(path, dpi=DPI, metadata={"Software": None})})
    return output / name


def choose(data: Prepared) -> np.ndarray:
    """int [FACES]: the test faces to show, of different groups, spread evenly over those with the most labels.

    Chosen without a look at any prediction, so that the picture flatters no network.
    """
    labelled = np.asarray(data.test.observed).sum(axis=1)
    _, first = np.unique(np.where(labelled == labelled.max(), data.test.groups, -1), return_index=True)
    full = np.sort(first[labelled[first] == labelled.max()])
    return full[np.linspace(0, len(full) - 1, min(FACES, len(full))).astype(int)]


def untrained(run, data: Prepared):
    """The network of a run as `models.fitting.fit` built it: same seed, same weights on the same Keras backend.

    data: that the run was trained on.
    """
    from models import asymmetry, label_rules
    from models.backend import import_keras
    from models.registry import get_network

    config = run.config
    if config.get("baseline") or config.get("seed") is None:
        raise DataError(f"{run.folder} is a baseline, which has no training to show")
    if "parts" in config:
        raise DataError(f"{run.folder} is made of several networks; a single one is accepted")
    import_keras().utils.set_random_seed(config["seed"])
    network = get_network(config["model"].split(" (")[0], **config.get("options", {}))
    face = np.array(config["mean_face"])
    if config["recipe"].get("label_rules") == "by_source" and label_rules.has_two(data.train, data.schema):
        train = asymmetry.without(data.train, asymmetry.of_config(config))
        face = label_rules.mean_outputs(label_rules.with_own_outputs(train), face)
    return network.build(tuple(config["image_size"]), face)


def draw(label: str, images: np.ndarray, truth: np.ndarray, predicted: list[np.ndarray]):
    """A row for each of `ROWS`. images: uint8 [M, H, W]; truth and predicted: float [M, K, 2] in their pixels."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from data_prep.style import STYLE
    from evaluation import metrics
    from evaluation.faces import draw_face, key

    size = images.shape[1:]
    at_96 = [metrics.scaled_to_reference(points + 0.5, size) - 0.5 for points in (truth, *predicted)]
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(1.55 * len(images), 4.2), layout="constrained")
        for name, line, points in zip(ROWS, figure.subplots(2, len(images), squeeze=False), at_96[1:], strict=True):
            for ax, image, true, guess in zip(line, images, at_96[0], points, strict=True):
                ax.set_axis_off()
                draw_face(ax, image, true, guess)
                distance = metrics.mean_distance_px(metrics.keypoint_errors(guess, true))
                ax.set_title(f"{distance:.1f} px", fontsize=8, fontweight="normal", pad=3)
            place = {"transform": line[0].transAxes, "rotation": 90, "va": "center", "ha": "right"}
            line[0].text(-0.06, 0.5, name, fontweight="bold", **place)
        figure.suptitle(f"{label}: mean distance from the truth (px at 96x96)", fontsize=10)
        key(figure)
    return figure


if __name__ == "__main__":
    sys.exit(main())
