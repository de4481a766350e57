"""A sheet of faces before and after a pipeline, with their points, and the way back."""

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from data_prep.augment.pipeline import Pipeline
from data_prep.prepared import Split
from data_prep.schema import Schema
from data_prep.style import STYLE

TILE = 1.5  # inches
# The subject's sides in colours apart, so that a mirror image with its sides not exchanged would show.
SIDES = {"left": "#FF9500", "right": "#30C0FF", "middle": "#00E000"}
BACK = "#FF20FF"


def choose(split: Split, count: int) -> np.ndarray:
    """Row positions of faces to show: at even steps over those with the most labels, in file order."""
    labels = split.observed.sum(axis=1)
    most = np.flatnonzero(labels == labels.max())
    return most[np.unique(np.linspace(0, len(most) - 1, min(count, len(most))).round().astype(int))]


def sheet(images: np.ndarray, keypoints: np.ndarray, pipeline: Pipeline, name: str, draws: int, seed: int) -> Figure:
    """A row per face: the original, `draws` changed ones, and their points taken back to the original.

    images: uint8 [B, H, W]. keypoints: float32 [B, K, 2] in pixels, NaN where unlabelled.
    """
    drawn = [pipeline.draw(len(images), images.shape[1:], (seed, number)) for number in range(draws)]
    changed = [one.apply(images, keypoints) for one in drawn]
    returned = [one.inverse(points) for one, (_, points) in zip(drawn, changed, strict=True)]
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(TILE * (draws + 2), TILE * len(images) + 0.7), layout="constrained")
        axes = figure.subplots(len(images), draws + 2, squeeze=False)
        for face, row in enumerate(axes):
            show(row[0], images[face], keypoints[face], pipeline.schema)
            for ax, one, (faces, points) in zip(row[1:], drawn, changed, strict=False):
                show(ax, faces[face], points[face], pipeline.schema)
                lost = int((~np.isnan(keypoints[face]).any(axis=1)).sum() - (~np.isnan(points[face]).any(axis=1)).sum())
                words = [*(["flipped"] if one.flipped[face] else []), *([f"{lost} outside"] if lost else [])]
                caption(ax, ", ".join(words))
            show(row[-1], images[face], keypoints[face], pipeline.schema)
            for points in returned:
                row[-1].plot(*points[face].T, ls="", marker="x", ms=3.2 if len(points[face]) < 30 else 1.8, mew=0.5,
                             color=BACK)  # fmt: skip
            apart = max(farthest(points[face], keypoints[face]) for points in returned)
            caption(row[-1], f"at most {apart:.0e} px apart")
        titles = ["original", *(f"draw {number + 1}" for number in range(draws)), "taken back"]
        for ax, title in zip(axes[0], titles, strict=True):
            ax.set_title(title)
        key = [Line2D([], [], ls="", marker="o", ms=5, color=colour, mec="0.2", mew=0.4) for colour in SIDES.values()]
        key.append(Line2D([], [], ls="", marker="x", ms=5, color=BACK))
        names = ["the subject's left", "right", "neither", f"the points of all {draws} draws, by the inverse"]
        figure.legend(key, names, loc="outside lower center", ncols=4, handletextpad=0.2)
        figure.suptitle(f"Augmentation: the pipeline {name}", fontsize=10, fontweight="bold")
    return figure


def show(ax: Axes, image: np.ndarray, points: np.ndarray, schema: Schema) -> None:
    """An image with its points coloured by the subject's side."""
    height, width = image.shape
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    style = {"ls": "", "marker": "o", "ms": 3 if len(schema) < 30 else 1.8, "mec": "0.2", "mew": 0.3}
    for side, colour in SIDES.items():
        ax.plot(*points[[side_of(point) == side for point in schema.points]].T, color=colour, **style)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    ax.set_axis_off()


def caption(ax: Axes, words: str) -> None:
    ax.text(0.5, -0.02, words, fontsize=6.5, ha="center", va="top", transform=ax.transAxes)


def farthest(points: np.ndarray, others: np.ndarray) -> float:
    """Largest distance in pixels between points [K, 2] and their likes; 0 where no two are labelled."""
    return float(np.nan_to_num(np.linalg.norm(points - others, axis=1)).max())


def side_of(point: str) -> str:
    """`left`, `right` or `middle`, of a point by name."""
    return next((side for side in ("left", "right") if side in point.split("_")), "middle")
