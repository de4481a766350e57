"""Analyse a data set before anything is trained on it: counts, gaps, positions, gray values, sample faces.

`results/README.md` explains every file and column; a test keeps it so.
"""

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep import explore_plots, explore_sheets
from data_prep.checks import Check, write_checks
from data_prep.faceset import FaceSet, observed
from data_prep.prepared import Split

DPI = 130
# The average of fewer images than this may still show a person; data from outside then gets a blank frame.
FEWEST_AVERAGED = 100

Row = dict[str, object]


def explore(results: Path, faces: FaceSet, splits: dict[str, Split], checks: list[Check], embedded: bool) -> None:
    """Write tables and plots to the folder `results`, each replaced at once when it is complete.

    The two sheets that show faces go there as well where the faces are the project's own (`embedded`), else to
    the folder `faces` beside it, which git ignores.
    """
    results = Path(results)
    sheets = results if embedded else results.parent / "faces"
    rows = parts(faces, splits)
    by_source = label_sources(faces)
    gray = gray_values(faces.images)
    keys = image_keys(faces.images)
    seen = patterns(faces)
    backgrounds = {
        name: faces.images[part].mean(axis=0, dtype=np.float32)
        for name, part in by_source.items()
        if embedded or len(np.unique(keys[part])) >= FEWEST_AVERAGED
    }
    chosen = explore_sheets.choose(faces, splits)

    tables = {
        "summary.csv": summary(faces, rows, gray, keys),
        "missing.csv": missing_points(faces, rows),
        "patterns.csv": pattern_rows(faces, seen),
        "positions.csv": positions(faces, rows),
    }
    figures = {
        results / "missing.png": explore_plots.missing(faces, by_source, seen.labelled, seen.faces),
        results / "keypoints.png": explore_plots.keypoints(faces, by_source, backgrounds),
        results / "pixels.png": explore_plots.pixels(by_source, gray.histograms, gray.means, gray.contrasts),
        sheets / "samples.png": explore_sheets.true_points(faces, chosen),
    }
    treated = sheets / "samples_filled.png"
    treated.unlink(missing_ok=True)  # of another treatment
    if any((observed(split.filled) & ~split.observed).any() for split in splits.values()):
        figures[treated] = explore_sheets.treated_points(faces, splits, chosen)
    for folder in {results, sheets}:
        folder.mkdir(parents=True, exist_ok=True)
    _replace(results / "checks.csv", lambda path: write_checks(path, checks))
    for name, table in tables.items():
        _replace(results / name, lambda path, table=table: _write_csv(path, table))
    for path, figure in figures.items():
        # Without the version of matplotlib in it, the same figure is the same file.
        options = {"format": "png", "dpi": DPI, "metadata": {"Software": None}}
        _replace(path, lambda path, figure=figure, options=options: figure.savefig(path, **options))


def parts(faces: FaceSet, splits: dict[str, Split]) -> dict[str, np.ndarray]:
    """Row positions of all faces, of each label source where there are several, and of each split."""
    position = {face: row for row, face in enumerate(faces.ids.tolist())}
    sources = label_sources(faces)
    return {
        "all": np.arange(len(faces)),
        **(sources if len(sources) > 1 else {}),
        **{name: np.array([position[i] for i in split.ids.tolist()], dtype=int) for name, split in splits.items()},
    }


def label_sources(faces: FaceSet) -> dict[str, np.ndarray]:
    """Row positions of each label source, by the name it has in tables and plots."""
    sources = np.unique(faces.sources)
    if len(sources) == 1:
        return {"all": np.arange(len(faces))}
    return {f"source {source}": np.flatnonzero(faces.sources == source) for source in sources}


@dataclass(frozen=True)
class GrayValues:
    """histograms int [N, 256], pixels of each gray value per image; means, contrasts float [N], the mean and
    standard deviation of each image's gray values."""

    histograms: np.ndarray
    means: np.ndarray
    contrasts: np.ndarray


def gray_values(images: np.ndarray) -> GrayValues:
    """Count the gray values of each image, uint8 [N, H, W]; every pixel statistic follows from the counts."""
    histograms = np.stack([np.bincount(image.ravel(), minlength=256) for image in images])
    values = np.arange(256)
    pixels = histograms.sum(axis=1)
    means = histograms @ values / pixels
    variances = histograms @ values**2 / pixels - means**2
    return GrayValues(histograms, means, np.sqrt(np.maximum(variances, 0)))


def image_keys(images: np.ndarray) -> np.ndarray:
    """int [N], equal where images uint8 [N, H, W] are equal pixel by pixel."""
    return np.array([hash(image.tobytes()) for image in images])


def summary(faces: FaceSet, rows: dict[str, np.ndarray], gray: GrayValues, keys: np.ndarray) -> list[Row]:
    """A row per part of the data set: faces, labels, gray values, distance between the eyes."""
    height, width = faces.images.shape[1:]
    x, y = faces.keypoints[..., 0], faces.keypoints[..., 1]
    outside = (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)
    eyes = faces.schema.eye_distance(faces.keypoints)
    values = np.arange(256)
    table = []
    for name, part in rows.items():
        labelled = faces.observed[part]
        counts = gray.histograms[part].sum(axis=0)
        present = np.flatnonzero(counts)
        mean = counts @ values / counts.sum()
        distances = eyes[part][~np.isnan(eyes[part])]
        table.append(
            {
                "part": name,
                "faces": len(part),
                "distinct_images": len(np.unique(keys[part])),
                "image_height_px": height,
                "image_width_px": width,
                "complete_faces": int(labelled.all(axis=1).sum()),
                "unlabelled_faces": int((~labelled.any(axis=1)).sum()),
                "labelled_points": int(labelled.sum()),
                "labelled_pct": 100 * labelled.mean(),
                "points_outside": int(outside[part].sum()),
                "gray_mean": mean,
                "gray_std": np.sqrt(counts @ (values - mean) ** 2 / counts.sum()),
                "gray_min": int(present[0]),
                "gray_max": int(present[-1]),
                "black_pct": 100 * counts[0] / counts.sum(),
                "white_pct": 100 * counts[255] / counts.sum(),
                "image_mean_std": gray.means[part].std(),
                "contrast_mean": gray.contrasts[part].mean(),
                "contrast_std": gray.contrasts[part].std(),
                "eye_distance_faces": len(distances),
                **_spread("eye_distance_", distances),
            }
        )
    return table


def missing_points(faces: FaceSet, rows: dict[str, np.ndarray]) -> list[Row]:
    """A row per keypoint and part of the data set: how many faces label the point, how many do not."""
    labelled = {name: faces.observed[part].sum(axis=0) for name, part in rows.items()}
    return [
        {
            "keypoint": point,
            "part": name,
            "faces": len(part),
            "labelled": int(labelled[name][k]),
            "missing": int(len(part) - labelled[name][k]),
            "missing_pct": 100 * (1 - labelled[name][k] / len(part)),
        }
        for k, point in enumerate(faces.schema.points)
        for name, part in rows.items()
    ]


@dataclass(frozen=True)
class Patterns:
    """Which points are labelled together. labelled bool [P, K], one row per pattern, the most frequent first;
    faces int [P, S], the faces with that pattern in each label source."""

    labelled: np.ndarray
    faces: np.ndarray


def patterns(faces: FaceSet) -> Patterns:
    """Every pattern of labelled points, by number of faces; of equals the one with more points first."""
    labelled, which = np.unique(faces.observed, axis=0, return_inverse=True)
    sources = list(label_sources(faces).values())
    counts = np.stack([np.bincount(which.ravel()[part], minlength=len(labelled)) for part in sources], axis=1)
    order = np.lexsort((-labelled.sum(axis=1), -counts.sum(axis=1)))
    return Patterns(labelled[order], counts[order])


def pattern_rows(faces: FaceSet, seen: Patterns) -> list[Row]:
    """A row per pattern: its points by name, its faces in all and per label source."""
    sources = label_sources(faces)
    table = []
    for labelled, counts in zip(seen.labelled, seen.faces, strict=True):
        row = {
            "pattern": pattern_name(faces.schema.points, labelled),
            "points": int(labelled.sum()),
            "faces": int(counts.sum()),
            "faces_pct": 100 * counts.sum() / len(faces),
        }
        if len(sources) > 1:
            row |= {f"faces_{name.replace(' ', '_')}": int(n) for name, n in zip(sources, counts, strict=True)}
        table.append(row)
    return table


def pattern_name(points: tuple[str, ...], labelled: np.ndarray) -> str:
    """`all`, `none`, the labelled points, or `all but` the others, whichever names fewer. labelled: bool [K]."""
    if labelled.all() or not labelled.any():
        return "all" if labelled.all() else "none"
    few = labelled if labelled.sum() <= len(points) / 2 else ~labelled
    names = " ".join(point for point, named in zip(points, few, strict=True) if named)
    return names if few is labelled else f"all but {names}"


def positions(faces: FaceSet, rows: dict[str, np.ndarray]) -> list[Row]:
    """A row per keypoint and part of the data set: where its labels lie, in pixels of the image."""
    table = []
    for k, point in enumerate(faces.schema.points):
        for name, part in rows.items():
            labels = faces.keypoints[part, k]
            labels = labels[observed(labels)].astype(np.float64)
            row = {"keypoint": point, "part": name, "labelled": len(labels)}
            table.append(row | _spread("x_", labels[:, 0]) | _spread("y_", labels[:, 1]))
    return table


def _spread(prefix: str, values: np.ndarray) -> Row:
    """Mean, standard deviation, smallest and largest of values [N] in pixels; blank where there are none."""
    names = ("mean", "std", "min", "max")
    found = [getattr(values, name)() for name in names] if len(values) else [None] * 4
    return {f"{prefix}{name}_px": value for name, value in zip(names, found, strict=True)}


def _write_csv(path: Path, table: list[Row]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table[0])
        writer.writerows([_cell(value) for value in row.values()] for row in table)


def _cell(value: object) -> object:
    # Adding zero turns a rounded -0.0 into 0.0.
    return f"{round(float(value), 3) + 0.0:.3f}" if isinstance(value, float | np.floating) else value


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and rename it, so that no half-written file is ever found."""
    aside = path.with_name(path.name + ".partial")
    write(aside)
    os.replace(aside, path)
