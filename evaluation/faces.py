"""Pictures that show faces: best, median and worst of a run. They need the images, which no record holds."""

import json
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from data_prep.prepared import embedded
from data_prep.style import STYLE
from evaluation import metrics
from evaluation.entries import Entry

GREEN, MAGENTA = "#00E000", "#FF20FF"  # truth, prediction
PER_ROW = 6
FEWEST_POINTS = 4  # labelled, for a face to be shown


def load_images(prepared: Path, ids: np.ndarray) -> tuple[np.ndarray | None, str]:
    """The test images of a prepared data set, uint8 [N, H, W], or None with the reason they cannot be shown.

    ids: [N], the test faces of the runs; images of any other faces would be a wrong picture.
    """
    paths = [prepared / name for name in ("test_images.npy", "test_ids.npy")]
    for path in paths:
        if not path.is_file():
            return None, f"{path} is absent"
    try:
        images, image_ids = (np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)
    except (OSError, ValueError, EOFError) as error:
        return None, f"{prepared} is damaged: {error}"
    if not np.array_equal(image_ids, ids) or images.ndim != 3 or len(images) != len(ids):
        return None, f"{prepared} holds other test faces than the runs (prepared anew since?)"
    return images, ""


def may_be_published(prepared: Path, entry: Entry) -> bool:
    """Whether these faces are the project's own sampled ones: both the data and the run must say so."""
    try:
        source = json.loads((prepared / "manifest.json").read_text())["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return embedded(source) and embedded(entry.config.get("data_source"))


def sample_faces(run: Entry, images: np.ndarray) -> Figure:
    """Best, median and worst test faces of a run, a row each, by mean distance over the labelled points.

    images: uint8 [N, H, W] of the run's test faces, in its order.
    """
    face_errors = metrics.face_errors_px(run.test.errors)
    labelled = (~np.isnan(run.test.errors).any(axis=-1)).sum(axis=1)
    # With two points to hit, a face is soon among the best: those say little beside faces with more.
    judged = np.where(labelled >= min(FEWEST_POINTS, labelled.max()), face_errors, np.nan)
    rows = pick_faces(judged, run.test.groups)
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(1.55 * PER_ROW, 5.9), layout="constrained")
        axes = figure.subplots(len(rows), PER_ROW)
        for (name, faces), line in zip(rows.items(), axes, strict=True):
            for ax in line:
                ax.set_axis_off()
            for ax, face in zip(line, faces, strict=False):
                draw_face(ax, images[face], run.test.truth[face], run.test.predicted[face])
                title = f"{face_errors[face]:.1f} px, {labelled[face]} points"
                ax.set_title(title, fontsize=8, fontweight="normal", pad=3)
            place = {"transform": line[0].transAxes, "rotation": 90, "va": "center", "ha": "right"}
            line[0].text(-0.06, 0.5, name, fontweight="bold", **place)
        title = f"{run.label}, seed {run.config['seed']}:\nmean distance from the truth (px at 96x96)"
        figure.suptitle(title, fontsize=10)
        key(figure)
    return figure


def key(figure: Figure) -> None:
    """The legend of the marks that `draw_face` makes, below the figure."""
    marks = [Line2D([], [], ls="", marker="o", color=GREEN, ms=5, mfc="none", mew=1.2)]
    marks.append(Line2D([], [], ls="", marker="x", color=MAGENTA, ms=5, mew=1.5))
    marks.append(Line2D([], [], ls="", marker="x", color=MAGENTA, ms=3.5, mew=0.8, alpha=0.6))
    names = ["truth (where labelled)", "prediction", "prediction of an unlabelled point"]
    figure.legend(marks, names, loc="outside lower center", ncols=3)


def draw_face(ax: Axes, image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> None:
    """One face with true and predicted points. image: uint8 [H, W]; points: [K, 2] in pixels at 96x96."""
    # The image is stretched to 96x96, edge to edge: pixel centres lie half a pixel inside its edges.
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(-0.5, 95.5, 95.5, -0.5), interpolation="bilinear")
    size = 4.5 if len(truth) < 30 else 2.2
    labelled = ~np.isnan(truth).any(axis=-1)
    for (x, y), (u, v) in zip(truth[labelled], predicted[labelled], strict=True):
        ax.plot([x, u], [y, v], color="white", lw=0.6, alpha=0.8)
    ax.plot(*truth[labelled].T, "o", color=GREEN, ms=size, mfc="none", mew=1.2)
    ax.plot(*predicted[labelled].T, "x", color=MAGENTA, ms=0.8 * size, mew=1.2)
    ax.plot(*predicted[~labelled].T, "x", color=MAGENTA, ms=0.6 * size, mew=0.8, alpha=0.6)
    ax.set(xlim=(-0.5, 95.5), ylim=(95.5, -0.5))


def pick_faces(face_errors: np.ndarray, groups: np.ndarray, count: int = PER_ROW) -> dict[str, list[int]]:
    """Positions of the best, median and worst faces, at most one face of each group.

    face_errors: float [N], NaN for a face without a label (never picked); groups: [N].
    """
    order = np.argsort(face_errors, kind="stable")[: int((~np.isnan(face_errors)).sum())]
    middle = order[np.argsort(np.abs(np.arange(len(order)) - (len(order) - 1) / 2), kind="stable")]
    return {
        "best": _one_per_group(order, groups, count),
        "median": sorted(_one_per_group(middle, groups, count), key=lambda i: face_errors[i]),
        "worst": _one_per_group(order[::-1], groups, count),
    }


def _one_per_group(order: np.ndarray, groups: np.ndarray, count: int) -> list[int]:
    chosen: dict[int, int] = {}
    for face in order:
        chosen.setdefault(groups[face], int(face))
        if len(chosen) == count:
            break
    return list(chosen.values())
