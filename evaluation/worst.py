"""The faces a network misses most: as rows, as faces, and as points alone where the faces may not be shown."""

from collections.abc import Callable

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from data_prep.style import STYLE
from evaluation import metrics
from evaluation.entries import Entry
from evaluation.faces import FEWEST_POINTS, GREEN, MAGENTA, PER_ROW, draw_face, pick_faces

COUNT = 12
# On white, the green and magenta that stand out from a photograph are too light.
DARK_GREEN, DARK_MAGENTA = "#00802B", "#C000A8"

Row = dict[str, object]


def worst_rows(entries: list[Entry], count: int = COUNT) -> list[Row]:
    """The faces that each entry misses most, worst first: a row per entry and face.

    `mean_distance_px` is the mean Euclidean distance over the face's labelled points, in pixels at 96x96.
    """
    rows = []
    for entry in entries:
        distances, labelled = _judged(entry)
        rows += [
            {
                "run": entry.name,
                "id": entry.test.ids[face].item(),
                "label_source": int(entry.test.sources[face]),
                "mean_distance_px": float(distances[face]),
                "points_scored": int(labelled[face]),
            }
            for face in _worst(entry, count)
        ]
    return rows


def worst_faces(entry: Entry, images: np.ndarray, count: int = COUNT) -> Figure:
    """The test faces that a run misses most, with truth and prediction.

    images: uint8 [N, H, W] of the run's test faces, in its order.
    """

    def draw(ax: Axes, face: int) -> None:
        draw_face(ax, images[face], entry.test.truth[face], entry.test.predicted[face])

    styles = {"truth": (GREEN, "o"), "prediction (small: of an unlabelled point)": (MAGENTA, "x")}
    return _sheet(entry, count, draw, styles)


def worst_points(entry: Entry, count: int = COUNT) -> Figure:
    """The same faces without a pixel of them: truth and prediction on a blank plate.

    The mean position of every keypoint over the test faces stands behind in gray, to show where a face would be.
    """
    truth = entry.test.truth
    known = ~np.isnan(truth).all(axis=(0, 2))
    usual = np.nanmean(truth[:, known], axis=0)
    size = 4.0 if len(entry.schema) < 30 else 2.0

    def draw(ax: Axes, face: int) -> None:
        labelled = ~np.isnan(truth[face]).any(axis=-1)
        true, predicted = truth[face][labelled], entry.test.predicted[face][labelled]
        ax.set_axis_on()
        ax.set(xlim=(-0.5, 95.5), ylim=(95.5, -0.5), xticks=[], yticks=[], aspect="equal", facecolor="0.97")
        ax.spines[:].set(visible=True, color="0.7", linewidth=0.6)
        ax.plot(*usual.T, "o", color="0.78", ms=0.7 * size)
        for (x, y), (u, v) in zip(true, predicted, strict=True):
            ax.plot([x, u], [y, v], color="0.45", lw=0.7)
        ax.plot(*true.T, "o", color=DARK_GREEN, ms=size, mfc="none", mew=1.2)
        ax.plot(*predicted.T, "x", color=DARK_MAGENTA, ms=size, mew=1.2)

    styles = {"truth": (DARK_GREEN, "o"), "prediction": (DARK_MAGENTA, "x"), "mean of the test faces": ("0.78", ".")}
    return _sheet(entry, count, draw, styles)


def _sheet(entry: Entry, count: int, draw: Callable[[Axes, int], None], styles: dict[str, tuple[str, str]]) -> Figure:
    """Twelve to a sheet: `draw` fills one panel; `styles` is the legend, name -> (colour, marker)."""
    distances, _ = _judged(entry)
    worst = _worst(entry, count)
    rows = max(1, -(-len(worst) // PER_ROW))
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(1.4 * PER_ROW, 0.8 + 1.65 * rows), layout="constrained")
        axes = figure.subplots(rows, PER_ROW, squeeze=False).ravel()
        for ax in axes:
            ax.set_axis_off()
        for ax, face in zip(axes, worst, strict=False):
            draw(ax, face)
            name = str(entry.test.ids[face].item())
            name = name if len(name) <= 16 else f"…{name[-15:]}"
            ax.set_title(f"{name}\n{distances[face]:.1f} px", fontsize=8, fontweight="normal", pad=3)
        seed = entry.config.get("seed")
        who = entry.label if seed is None else f"{entry.label}, seed {seed}"
        title = f"{who}:\nthe faces missed most (id, mean distance from the truth in px at 96x96)"
        figure.suptitle(title, fontsize=10)
        key = [
            Line2D([], [], ls="", marker=marker, color=colour, ms=5, mfc="none" if marker == "o" else colour, mew=1.2)
            for colour, marker in styles.values()
        ]
        figure.legend(key, list(styles), loc="outside lower center", ncols=len(key))
    return figure


def _worst(entry: Entry, count: int) -> list[int]:
    """Positions of the worst faces, worst first; one per group, by the rule of `faces.sample_faces`."""
    distances, labelled = _judged(entry)
    judged = np.where(labelled >= min(FEWEST_POINTS, labelled.max(initial=0)), distances, np.nan)
    return pick_faces(judged, entry.test.groups, count)["worst"]


def _judged(entry: Entry) -> tuple[np.ndarray, np.ndarray]:
    """Per test face: mean distance over labelled points (float64 [N], px, NaN without any) and their number [N]."""
    return metrics.face_errors_px(entry.test.errors), (~np.isnan(entry.test.errors).any(axis=-1)).sum(axis=1)
