"""Plots of a data set: what is missing, where the keypoints lie, how bright the images are.

Functions return a matplotlib `Figure` and never save; figures are made without pyplot, so nothing global is
touched. A label source has one colour in every plot, a part of the face another.
"""

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from data_prep.faceset import FaceSet, observed
from data_prep.style import STYLE

# Okabe & Ito (2008), distinguishable under the common colour-vision deficiencies.
SOURCE_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
# Parts of the face by what their points' names hold; the first match counts.
PARTS = {
    "eyebrow": ("eyebrows", "#D55E00"),
    "eye": ("eyes", "#0072B2"),
    "nos": ("nose", "#009E73"),
    "mouth": ("mouth", "#CC79A7"),
    "lip": ("mouth", "#CC79A7"),
    "jaw": ("jaw", "#E69F00"),
}
MOST_PATTERNS = 12
MOST_NUMBERED = 30  # more points than this are not numbered


def missing(
    faces: FaceSet, by_source: dict[str, np.ndarray], pattern_points: np.ndarray, pattern_faces: np.ndarray
) -> Figure:
    """Missing labels per keypoint, stacked by source, beside the most frequent patterns of labelled points.

    pattern_points: bool [P, K], the points of each pattern, the most frequent pattern first; pattern_faces:
    int [P, S], its faces in each source.
    """
    n, k = faces.observed.shape
    shown = min(len(pattern_points), MOST_PATTERNS)
    few = k <= MOST_NUMBERED
    with rc_context(STYLE):
        if faces.observed.all():
            figure = Figure(figsize=(6, 0.7))
            figure.text(0.5, 0.5, f"Nothing is missing: all {n:,} faces have all {k} labels.", ha="center", va="center")
            return figure
        height = (0.19 if few else 0.115) * k
        figure = Figure(figsize=(9.6, height + 2.2), layout="constrained")
        axes = figure.subplots(2, 2, width_ratios=(1.25, 1), height_ratios=(1.3, height + 0.4), sharey="row")
        (key, above), (bars, matrix) = axes
        gaps = {name: (~faces.observed[part]).sum(axis=0) for name, part in by_source.items()}
        most = max(sum(gaps.values()).max(), 1)
        y, left = np.arange(k), np.zeros(k)
        size = 8 if few else 6
        for i, (name, part) in enumerate(by_source.items()):
            colour = SOURCE_COLOURS[i % len(SOURCE_COLOURS)]
            bars.barh(y, gaps[name], left=left, height=0.75, color=colour, label=_title(name, len(part)))
            left += gaps[name]
            # A column of percentages beside the bars for each source: a small share of a small source is no bar.
            column = most * (1.2 + 0.2 * i)
            bars.text(column, -0.75, f"{name}\n(%)", ha="right", va="bottom", fontsize=7.5)
            for row, count in enumerate(gaps[name]):
                bars.text(column, row, f"{100 * count / len(part):.1f}", ha="right", va="center", fontsize=size - 0.5)
            above.bar(
                np.arange(shown),
                pattern_faces[:shown, i],
                bottom=pattern_faces[:shown, :i].sum(axis=1),
                width=0.75,
                color=colour,
            )
        bars.set_yticks(y, [point.replace("_", " ") for point in faces.schema.points], fontsize=size)
        bars.set_xticks([t for t in bars.get_xticks() if t <= most and t == int(t)])
        bars.spines["bottom"].set_bounds(0, most)
        bars.set_xlabel("faces without this label", loc="left")
        bars.set(ylim=(k - 0.5, -0.5), xlim=(0, column * 1.01))
        bars.grid(axis="y", visible=False)
        bars.tick_params(axis="y", length=0)
        key.set_axis_off()
        key.set_title("missing labels per keypoint", loc="left")
        key.legend(*bars.get_legend_handles_labels(), loc="upper left")

        for row in y[::2]:
            matrix.axhspan(row - 0.5, row + 0.5, color="0.97", zorder=0)
        dot = 5 if few else 2.5
        matrix.plot(*np.argwhere(~pattern_points[:shown]).T, "o", color="0.85", ms=dot)
        matrix.plot(*np.argwhere(pattern_points[:shown]).T, "o", color="0.15", ms=dot)
        matrix.set_xticks(range(shown))
        matrix.set_xticklabels(range(1, shown + 1))
        matrix.set(xlabel="pattern (black: labelled, gray: missing)", xlim=(-0.6, max(shown, 6) - 0.4))
        matrix.grid(visible=False)
        matrix.tick_params(axis="both", length=0, labelleft=False)
        matrix.spines[:].set_visible(False)
        counts = pattern_faces[:shown].sum(axis=1)
        for column, count in enumerate(counts):
            above.text(column, count, f"{count:,}", ha="center", va="bottom", fontsize=7.5)
        above.set(xlim=matrix.get_xlim(), ylim=(0, counts.max() * 1.15))
        title = f"faces with each of {len(pattern_points)} patterns"
        if shown < len(pattern_points):
            title = f"{shown} most frequent of {len(pattern_points)} patterns: {100 * counts.sum() / n:.1f} % of faces"
        above.set_title(title, loc="left")
        above.set_axis_off()
    return figure


def keypoints(faces: FaceSet, by_source: dict[str, np.ndarray], backgrounds: dict[str, np.ndarray]) -> Figure:
    """Density of every keypoint's labels over the average image, a panel per label source.

    backgrounds: float [H, W] per source; a source that has none gets a blank frame.
    """
    height, width = faces.images.shape[1:]
    frame = (-0.5, width - 0.5, height - 0.5, -0.5)
    points = faces.schema.points
    colours = np.array([to_rgb(_part(point)[1]) for point in points])
    numbered = len(points) <= MOST_NUMBERED
    panel = 4.0 if len(by_source) > 1 else 5.2
    means = {name: _means(faces.keypoints[part]) for name, part in by_source.items()}
    size = (panel * len(by_source) + (2.4 if numbered else 0.5), panel * height / width + 0.9)
    with rc_context(STYLE | {"axes.grid": False, "axes.spines.top": True, "axes.spines.right": True}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, len(by_source), squeeze=False)[0]
        for ax, (name, part) in zip(axes, by_source.items(), strict=True):
            if name in backgrounds:
                average = backgrounds[name]
                # An average has little contrast; drawn light, it leaves the colours readable.
                dark, light = average.min() - 0.7 * np.ptp(average) - 1, average.max()
                ax.imshow(average, cmap="gray", vmin=dark, vmax=light, extent=frame, interpolation="bilinear")
            cells = density(faces.keypoints[part], colours, (height, width), per_pixel=2 if len(part) > 500 else 1)
            ax.imshow(cells, extent=frame, interpolation="nearest")
            for other in by_source:
                if other != name and numbered:
                    shared = np.where(np.isnan(means[name]), np.nan, means[other])
                    ax.plot(*shared.T, "x", color="black", ms=4.5, mew=1.2, path_effects=[_halo(2.4)])
            ax.plot(*means[name].T, "o", color="white", mec="black", ms=4.5 if numbered else 2.5, mew=0.8)
            for i, (x, y) in enumerate(means[name]):
                if numbered and not np.isnan(x):
                    # Away from the middle and below, where the other source's means do not lie.
                    side = 1 if x > 0.48 * width else -1
                    ax.annotate(str(i + 1), (x, y), (4 * side, -3), ha="left" if side > 0 else "right", va="top",
                                textcoords="offset points", fontsize=7.5, fontweight="bold",
                                path_effects=[_halo(2)])  # fmt: skip
            ax.set(title=_title(name, len(part)), xlabel="x (px)", xlim=frame[:2], ylim=frame[2:], aspect="equal")
        axes[0].set_ylabel("y (px)")
        parts = dict(_part(point) for point in points)
        key = [Line2D([], [], ls="", marker="s", color=colour, ms=7) for colour in parts.values()]
        key.append(Line2D([], [], ls="", marker="o", color="white", mec="black", ms=4.5, mew=0.8))
        labels = [*parts, "mean"]
        if len(by_source) > 1 and numbered:
            key.append(Line2D([], [], ls="", marker="x", color="black", ms=4.5, mew=1.2))
            labels.append("mean in the other source")
        figure.legend(key, labels, loc="outside lower center", ncols=7, handletextpad=0.2, columnspacing=1.4)
        if numbered:
            names = [f"{i + 1:\u2007>2}  {point.replace('_', ' ')}" for i, point in enumerate(points)]
            place = {"transform": axes[-1].transAxes, "va": "top", "fontsize": 8, "linespacing": 1.5}
            axes[-1].text(1.03, 1, "\n".join(names), **place)
    return figure


def density(points: np.ndarray, colours: np.ndarray, size: tuple[int, int], per_pixel: int) -> np.ndarray:
    """RGBA [H * per_pixel, W * per_pixel, 4]: each keypoint's labels counted on a fine grid, in its colour.

    points: float [N, K, 2] in pixels of images of `size` (H, W), NaN where unlabelled; colours: [K, 3].
    """
    shape = np.array(size) * per_pixel
    cells = np.floor((points[..., ::-1] + 0.5) * per_pixel)
    inside = observed(points) & (cells >= 0).all(axis=-1) & (cells < shape).all(axis=-1)
    opacity = np.zeros((*shape, len(colours)), np.float32)
    for k in range(len(colours)):
        rows, columns = cells[inside[:, k], k].astype(int).T
        counts = np.bincount(rows * shape[1] + columns, minlength=shape.prod())
        # The square root keeps the tails visible, the floor a single outlier.
        opacity[..., k] = np.where(counts, 0.2 + 0.6 * np.sqrt(counts / max(counts.max(), 1)), 0).reshape(shape)
    total = opacity.sum(axis=-1, keepdims=True)
    mixed = opacity @ colours.astype(np.float32) / np.maximum(total, 1e-6)
    return np.concatenate([mixed, opacity.max(axis=-1, keepdims=True)], axis=-1)


def pixels(
    by_source: dict[str, np.ndarray], histograms: np.ndarray, means: np.ndarray, contrasts: np.ndarray
) -> Figure:
    """Gray values of all pixels, mean gray value and contrast of the images, a line per label source.

    histograms: int [N, 256]; means, contrasts: float [N].
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.0), layout="constrained")
        axes = figure.subplots(1, 3)
        steps = (5, 2.5)
        for i, (name, part) in enumerate(by_source.items()):
            style = {"color": SOURCE_COLOURS[i % len(SOURCE_COLOURS)], "lw": 1.4}
            counts = histograms[part].sum(axis=0)
            axes[0].plot(100 * counts / counts.sum(), label=_title(name, len(part)), **style)
            for ax, values, step in zip(axes[1:], (means, contrasts), steps, strict=True):
                edges = np.arange(0, values.max() + 2 * step, step)
                share, _ = np.histogram(values[part], edges)
                ax.stairs(100 * share / len(part), edges, **style)
        axes[0].set(title="gray values", xlabel="gray value (0 black, 255 white)", ylabel="pixels (%)")
        axes[1].set(title="brightness", xlabel="mean gray value of an image")
        axes[2].set(title="contrast", xlabel="standard deviation of an image")
        for ax, step in zip(axes[1:], steps, strict=True):
            ax.set_ylabel(f"images (%, bins of {step})")
        axes[0].set_xticks([0, 64, 128, 192, 255])
        for ax in axes:
            ax.set_ylim(bottom=0)
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def _part(point: str) -> tuple[str, str]:
    """Part of the face that a point belongs to, and its colour."""
    return next((part for stem, part in PARTS.items() if stem in point), ("other", "0.4"))


def _means(points: np.ndarray) -> np.ndarray:
    """float [K, 2], the mean of each keypoint's labels; NaN where it has none. points: float [N, K, 2]."""
    seen = observed(points)[..., None]
    counts = seen.sum(axis=0)
    return np.where(counts, np.where(seen, points, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _title(name: str, faces: int) -> str:
    return f"{'all' if name == 'all' else f'label {name}:'} {faces:,} faces"


def _halo(width: float) -> withStroke:
    return withStroke(linewidth=width, foreground="white")
