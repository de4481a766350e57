"""Sheets of sample faces: with the points people labelled, and with those that a treatment filled in."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from data_prep.faceset import FaceSet, observed
from data_prep.prepared import Split
from data_prep.style import STYLE

COLUMNS = 10
MOST_ROWS = 6
TILE = 1.05  # inches
TRUE, FILLED = "#00E000", "#FF9500"


@dataclass(frozen=True)
class Line:
    """One line of a sheet: what its faces have in common, and their row positions."""

    title: str
    rows: np.ndarray


def choose(faces: FaceSet, splits: dict[str, Split]) -> list[Line]:
    """Faces to show, the same for the same data: complete and incomplete ones of each label source.

    Within a kind they are taken at even steps, from the faces with the fewest labels to those with the most, in
    file order. Only prepared faces are shown: a treatment may have left some out.
    """
    prepared = np.isin(faces.ids, np.concatenate([split.ids for split in splits.values()]))
    labels = faces.observed.sum(axis=1)
    complete = labels == len(faces.schema)
    sources = np.unique(faces.sources)
    kinds = []
    for source in sources:
        for title, members in (("complete", complete), ("with gaps", ~complete)):
            rows = np.flatnonzero(prepared & members & (faces.sources == source))
            rows = rows[np.argsort(labels[rows], kind="stable")]
            if len(rows):
                kinds.append((f"source {source}\n{title}" if len(sources) > 1 else title, rows))
    lines = []
    for title, rows in kinds:
        wanted = COLUMNS * max(MOST_ROWS // len(kinds), 1)
        shown = rows[np.unique(np.linspace(0, len(rows) - 1, min(wanted, len(rows))).round().astype(int))]
        lines += [Line(title, shown[start : start + COLUMNS]) for start in range(0, len(shown), COLUMNS)]
    return lines


def true_points(faces: FaceSet, lines: list[Line]) -> Figure:
    """Sample faces with their true labels."""
    return _sheet(faces, lines, np.full_like(faces.keypoints, np.nan), "Sample faces with their labelled points")


def treated_points(faces: FaceSet, splits: dict[str, Split], lines: list[Line]) -> Figure:
    """The same faces after treatment: labelled points solid, filled ones hollow."""
    position = {face: row for row, face in enumerate(faces.ids.tolist())}
    filled = np.full_like(faces.keypoints, np.nan)
    for split in splits.values():
        filled[[position[i] for i in split.ids.tolist()]] = np.where(split.observed[..., None], np.nan, split.filled)
    return _sheet(faces, lines, filled, "The same faces after missing points were filled in")


def _sheet(faces: FaceSet, lines: list[Line], filled: np.ndarray, title: str) -> Figure:
    """All faces as one image, which is many times faster than an axis for each. filled: float [N, K, 2]."""
    height, width = faces.images.shape[1:]
    gap, caption = 0.06 * width, 0.14 * height
    step = np.array([width + gap, height + caption])
    # Inches: a margin for titles on the left, above and below.
    left, top, bottom = 0.45, 0.4, 0.35
    inches = np.array([COLUMNS * TILE, len(lines) * TILE * step[1] / step[0]])
    size = inches + (left + 0.05, top + bottom)
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=size)
        ax = figure.add_axes((left / size[0], bottom / size[1], inches[0] / size[0], inches[1] / size[1]))
        ax.set_axis_off()
        true_at, filled_at = [], []
        for row, line in enumerate(lines):
            for column, face in enumerate(line.rows):
                corner = step * (column, row) + (0, caption)
                x, y = corner
                extent = (x - 0.5, x + width - 0.5, y + height - 0.5, y - 0.5)
                ax.imshow(faces.images[face], cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="bilinear")
                true_at.append(faces.keypoints[face] + corner)
                filled_at.append(filled[face] + corner)
                ax.text(x, y - 0.03 * height, _caption(faces, face), fontsize=6, va="baseline")
        many = len(faces.schema) > 30
        true_style = {"ls": "", "marker": "o", "color": TRUE, "mec": "#004000", "mew": 0.3 if many else 0.5}
        filled_style = {"ls": "", "marker": "o", "color": FILLED, "mfc": "none", "mew": 0.6 if many else 1.1}
        ax.plot(*np.concatenate(filled_at).T, ms=2.2 if many else 4, **filled_style)
        ax.plot(*np.concatenate(true_at).T, ms=1.8 if many else 3.6, **true_style)
        ax.set(xlim=(-0.5, COLUMNS * step[0] - 0.5), ylim=(len(lines) * step[1], 0), aspect="equal")
        for title_of_kind, of_kind in _runs(lines).items():
            middle = step[1] * (np.mean(of_kind) + 0.5)
            place = {"rotation": 90, "ha": "right", "va": "center", "multialignment": "center"}
            ax.text(-0.05 * width, middle, title_of_kind, fontweight="bold", fontsize=8.5, **place)
        figure.suptitle(title, fontsize=10, fontweight="bold", y=1 - 0.12 / size[1], va="top")
        key, names = [Line2D([], [], ms=5, **true_style)], ["labelled"]
        if observed(filled).any():
            key.append(Line2D([], [], ms=5.5, **filled_style))
            names.append("filled in by the treatment, not true labels")
        figure.legend(key, names, loc="lower center", ncols=2, handletextpad=0.2)
    return figure


def _runs(lines: list[Line]) -> dict[str, list[int]]:
    """Which lines of a sheet share a title."""
    found: dict[str, list[int]] = {}
    for row, line in enumerate(lines):
        found.setdefault(line.title, []).append(row)
    return found


def _caption(faces: FaceSet, face: int) -> str:
    """What finds the face again: its row in the file and number of labels, or its file name."""
    name = faces.ids[face]
    if isinstance(name, str):
        stem = PurePosixPath(name).stem
        return stem if len(stem) <= 20 else f"{stem[:10]}…{stem[-9:]}"
    count = int(faces.observed[face].sum())
    return f"row {name}: {count} point{'' if count == 1 else 's'}"
