"""Figures of the comparison. Functions return a matplotlib `Figure` (or draw into `ax`) and never save.

Figures are made without pyplot, so nothing global is touched and nothing needs closing. Colour stands for the
model, line style and marker for recipe and treatment, the same in every figure of one evaluation.
"""

from collections.abc import Callable
from functools import wraps
from textwrap import fill

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from data_prep.style import STYLE
from evaluation import metrics
from evaluation.entries import MEAN_FACE, Entry, by_label, main_entries

TITLE = 30  # characters of a panel's title, which long names of recipes would not fit in one line
# Okabe & Ito (2008), distinguishable under the common colour-vision deficiencies, without their yellow (too
# faint on white); then three of Tol's for more than seven models.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288", "#882255", "#999933")
LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (9, 2)), (0, (2, 1)), (0, (6, 2, 2, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
# Baselines share a colour and differ in line and marker; the mean face is the first of them.
BASELINE = "0.35"
BASELINE_LINES = ((0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
BASELINE_MARKERS = ("|", "x", "+")

# More than this many lines or panels stop being readable; the tables hold every run.
MOST_LABELS = 12
MOST_PER_KEYPOINT = 6
MOST_PANELS = 4

# The arrows of `mean_face_errors` are drawn this much longer than the bias is.
MAGNIFIED = 5


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    @wraps(draw)
    def styled(*args, **kwargs):
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


class Looks:
    """Colour, line and marker of each entry, fixed by all entries of one evaluation."""

    def __init__(self, entries: list[Entry]):
        trained = [e for e in entries if not e.is_baseline]
        self._models = sorted({e.model for e in trained})
        self._variants = sorted({e.variant for e in trained})
        self._baselines = sorted({e.model for e in entries if e.is_baseline}, key=lambda m: (m != MEAN_FACE, m))

    def colour(self, entry: Entry) -> str:
        return BASELINE if entry.is_baseline else COLOURS[self._models.index(entry.model) % len(COLOURS)]

    def _style_index(self, entry: Entry) -> int:
        if entry.is_baseline:
            return self._baselines.index(entry.model)
        # Past the last colour models repeat colours, so they move on to the next line style.
        turn = self._models.index(entry.model) // len(COLOURS)
        return self._variants.index(entry.variant) + turn

    def line(self, entry: Entry):
        lines = BASELINE_LINES if entry.is_baseline else LINES
        return lines[self._style_index(entry) % len(lines)]

    def marker(self, entry: Entry) -> str:
        markers = BASELINE_MARKERS if entry.is_baseline else MARKERS
        return markers[self._style_index(entry) % len(markers)]


@_styled
def learning_curves(entries: list[Entry]) -> Figure:
    """Training and validation loss of every run: a panel per model and variant, models side by side.

    Panels of one variant (recipe and treatment) share the loss axis; losses of different variants measure
    different things.
    """
    shown = (entry for entry in entries if not (entry.is_baseline or entry.reuses_runs))
    trained = sorted(shown, key=lambda entry: (entry.variant, entry.model, entry.name))
    if not trained:
        return _no_network("Learning curves")
    looks = Looks(trained)
    panels: dict[str, dict[str, list[Entry]]] = {}
    for entry in trained:
        panels.setdefault(entry.variant, {}).setdefault(entry.model, []).append(entry)
    rows = _packed([[(variant, model) for model in models] for variant, models in panels.items()])
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(max(3.1 * columns, 5.0), 2.7 * len(rows) + 0.4), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, line in zip(rows, axes, strict=True):
        for ax in line[len(row) :]:
            ax.set_axis_off()
        for ax, (variant, model) in zip(line, row, strict=False):
            for run in panels[variant][model]:
                loss_curve(ax, run, looks.colour(run))
            losses = [v for runs in panels[variant].values() for run in runs for v in _losses(run)]
            ax.set(title=f"{model}\n{_lines(variant)}", xlabel="epoch", yscale="log")
            ax.set_ylim(min(losses) * 0.9, max(losses) * 1.1)
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_locator(NullLocator())
        line[0].set_ylabel("loss (as the recipe has it)")
    key = [Line2D([], [], color="0.3", ls=":"), Line2D([], [], color="0.3")]
    key.append(Line2D([], [], color="0.3", ls="", marker="o", ms=5))
    names = ["training", "validation", "epoch whose weights were kept"]
    figure.legend(key, names, loc="outside lower center", ncols=3 if columns > 1 else 2)
    return figure


def loss_curve(ax: Axes, run: Entry, colour: str) -> None:
    """Draw one run's training and validation loss, with a dot on the epoch whose weights were kept."""
    loss, val_loss = np.array(run.history["loss"]), np.array(run.history["val_loss"])
    epochs = np.array(run.history.get("epoch", range(1, len(loss) + 1)))
    ax.plot(epochs, loss, color=colour, ls=":", lw=1.3)
    ax.plot(epochs, val_loss, color=colour, lw=1.3)
    kept = epochs == run.config.get("best_epoch")
    ax.plot(epochs[kept], val_loss[kept], color=colour, ls="", marker="o", ms=5)


def _losses(run: Entry) -> list[float]:
    """What a log axis can show of a run's losses."""
    values = [*run.history["loss"], *run.history["val_loss"]]
    return [v for v in values if np.isfinite(v) and v > 0] or [1.0]


def _packed(groups: list[list], width: int = MOST_PANELS) -> list[list]:
    """Groups laid into rows of at most `width` items; a group is broken only if it is wider than a row."""
    rows: list[list] = [[]]
    for group in groups:
        for start in range(0, len(group), width):
            part = group[start : start + width]
            if len(rows[-1]) + len(part) > width:
                rows.append([])
            rows[-1] += part
    return rows


@_styled
def error_per_keypoint(entries: list[Entry], noise_floor: dict | None = None) -> Figure:
    """RMSE of each keypoint: a dot per group of seeds (their mean), the baselines for scale.

    noise_floor: of `entries.noise_floor`, a dashed line over all keypoints, for which it is one figure.
    """
    looks = Looks(entries)
    groups, title = _limited(entries, MOST_PER_KEYPOINT, "Error per keypoint")
    schema = entries[0].schema
    height = 1.3 + 0.155 * len(schema) + 0.1 * min(len(schema), 15)
    figure = Figure(figsize=(7.0, height), layout="constrained")
    ax = figure.subplots()
    y = np.arange(len(schema))
    for row in y[::2]:
        ax.axhspan(row - 0.5, row + 0.5, color="0.97", zorder=0)
    trained = sum(not seeds[0].is_baseline for seeds in groups.values())
    for i, (label, seeds) in enumerate(groups.items()):
        rmse = np.mean([[metrics.rmse_px(s.test.errors[:, k]) for k in y] for s in seeds], axis=0)
        # A small offset keeps equal values apart; baselines come last and stand alone.
        offset = 0 if seeds[0].is_baseline else (i - (trained - 1) / 2) * min(0.12, 0.6 / (trained + 1))
        look = {"marker": looks.marker(seeds[0]), "color": looks.colour(seeds[0])}
        size = 10 if look["marker"] == "|" else 5
        ax.plot(rmse, y + offset, ls="", ms=size, mew=1.2, label=label + _seeds(seeds), **look)
    if noise_floor:
        kind = "simulated label noise" if noise_floor["simulated"] else "label noise"
        label = f"{kind}, all keypoints: {noise_floor['rmse_px']:.2f} px"
        ax.axvline(noise_floor["rmse_px"], color=BASELINE, ls="--", lw=1, zorder=0.5, label=label)
    names = [point.replace("_", " ") for point in schema.points]
    ax.set_yticks(y, names, fontsize=8 if len(schema) < 30 else 6)
    ax.set(xlabel="RMSE per coordinate (px at 96x96)", title=title, ylim=(len(schema) - 0.5, -0.5))
    ax.set_xlim(left=0)
    ax.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@_styled
def cumulative_errors(entries: list[Entry], most_px: float = 10.0) -> Figure:
    """Share of points within a distance, a line per group of seeds (their points pooled)."""
    looks = Looks(entries)
    groups, title = _limited(entries, MOST_LABELS, "Cumulative error")
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    limits = np.linspace(0, most_px, 201)
    curves = {}
    for label, seeds in groups.items():
        curves[label] = metrics.cumulative_error(np.concatenate([s.test.errors for s in seeds]), limits)
    # The legend stands in the order of the curves, best first.
    for label in sorted(curves, key=lambda name: -np.nan_to_num(curves[name]).sum()):
        seeds = groups[label]
        style = {"color": looks.colour(seeds[0]), "ls": looks.line(seeds[0])}
        ax.plot(limits, curves[label], lw=1.8, label=label + _seeds(seeds), **style)
    ax.set(xlabel="distance from the true point (px at 96x96)", ylabel="labelled points within it (%)")
    ax.set(title=title, xlim=(0, most_px), ylim=(0, 101))
    # Curves bend to the top left, so the bottom right is free for a short legend; a long one stands outside.
    if len(groups) <= 5:
        ax.legend(loc="lower right")
    else:  # in small letters: two of the longest names fit beside each other
        figure.legend(loc="outside lower center", ncols=2, fontsize=6)
    return figure


@_styled
def truth_against_prediction(entries: list[Entry]) -> Figure:
    """Predicted over true coordinate of every labelled point: x above, y below, a column per main run."""
    runs = main_entries(entries, MOST_PANELS)
    if not runs:
        return _no_network("Truth against prediction")
    looks = Looks(entries)
    figure = Figure(figsize=(2.5 * len(runs) + 0.6, 5.2), layout="constrained")
    axes = figure.subplots(2, len(runs), squeeze=False, sharex="row", sharey="row")
    for column, run in enumerate(runs):
        for row, name in enumerate("xy"):
            ax = axes[row, column]
            # Axes of the image; a prediction beyond them is drawn on the rim.
            predicted = np.clip(run.test.predicted[..., row], 0, 96)
            size = {"s": 2.5, "alpha": 0.25, "lw": 0}
            ax.scatter(run.test.truth[..., row], predicted, color=looks.colour(run), **size)
            ax.plot([0, 96], [0, 96], color="black", lw=0.7)
            ax.set(xlim=(0, 96), ylim=(0, 96), aspect="equal", xlabel=f"true {name} (px)")
            ax.set_xticks(range(0, 97, 24))
            ax.set_yticks(range(0, 97, 24))
        axes[0, column].set_title(_run_title(run))
    for row, name in enumerate("xy"):
        axes[row, 0].set_ylabel(f"predicted {name} (px)")
    return figure


@_styled
def mean_face_errors(entries: list[Entry], mean: np.ndarray) -> Figure:
    """Where a model errs: bias and spread of each keypoint, drawn at the mean face's points.

    mean: float [K, 2], the mean face in pixels at 96x96. A panel per main run; the ellipse is one standard
    deviation of the error (true size), the arrow the mean error, `MAGNIFIED` times its length.
    """
    runs = main_entries(entries, MOST_PANELS)
    if not runs:
        return _no_network("Errors on the mean face")
    looks = Looks(entries)
    known = mean[~np.isnan(mean).any(axis=1)]
    (left, top), (right, bottom) = known.min(axis=0) - 8, known.max(axis=0) + 8
    height = 3.0 * (bottom - top) / (right - left) + 1.2
    figure = Figure(figsize=(max(3.1 * len(runs) + 0.5, 6.2), height), layout="constrained")
    axes = figure.subplots(1, len(runs), squeeze=False, sharex=True, sharey=True)
    for ax, run in zip(axes[0], runs, strict=True):
        errors_on_face(ax, run.test.errors, mean, looks.colour(run))
        ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", title=_run_title(run), xlabel="x (px)")
    axes[0, 0].set_ylabel("y (px)")
    key = f"dot: mean face   ellipse: spread of the error (1 SD)   arrow: mean error, {MAGNIFIED}x enlarged"
    figure.supxlabel(key, fontsize=8.5)
    return figure


def errors_on_face(ax: Axes, errors: np.ndarray, mean: np.ndarray, colour: str) -> None:
    """Draw the bias (arrow) and covariance (ellipse) of errors [N, K, 2] at the points mean [K, 2]."""
    for k, (x, y) in enumerate(mean):
        labelled = errors[:, k][~np.isnan(errors[:, k]).any(axis=1)]
        if len(labelled) < 2 or np.isnan(x + y):
            continue
        dx, dy = labelled.mean(axis=0) * MAGNIFIED
        variance, axes = np.linalg.eigh(np.cov(labelled.T, bias=True))
        width, height = 2 * np.sqrt(np.maximum(variance, 0))
        angle = np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))
        ax.add_patch(Ellipse((x, y), width, height, angle=angle, fc=colour, alpha=0.3, lw=0))
        arrow = {"arrowstyle": "->,head_length=0.2,head_width=0.12", "lw": 1.1, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", (x + dx, y + dy), (x, y), arrowprops=arrow)
        ax.plot(x, y, ".", color=colour, ms=4)


def _limited(entries: list[Entry], most: int, title: str) -> tuple[dict[str, list[Entry]], str]:
    """At most `most` groups of seeds, then each baseline; the title says that something was left out.

    The best variant of each model comes first, so that no model is crowded out by the variants of another; of a
    baseline it is the only one. Best is by validation. Second looks and means of several
    networks are not shown.
    """
    trained = by_label(e for e in entries if not (e.is_baseline or e.reuses_runs))
    baselines = by_label(e for e in entries if e.is_baseline)
    first = _best_of_each_model(trained)
    kept = [*first, *(label for label in trained if label not in first)][:most]
    if len(kept) < len(trained):
        title += f" ({most} of {len(trained)}, chosen by validation RMSE)"
    # Still in the order of validation, best first.
    chosen = {label: seeds for label, seeds in trained.items() if label in kept}
    return chosen | {label: baselines[label] for label in _best_of_each_model(baselines)}, title


def _best_of_each_model(groups: dict[str, list[Entry]]) -> list[str]:
    """The first label of each model; `groups` has the best first."""
    models = [seeds[0].model for seeds in groups.values()]
    return [label for i, label in enumerate(groups) if models[i] not in models[:i]]


def _no_network(title: str) -> Figure:
    """What takes a figure's place where the table has baselines alone."""
    figure = Figure(figsize=(5.0, 3.0), layout="constrained")
    ax = figure.subplots()
    ax.set_axis_off()
    ax.set_title(title)
    ax.text(0.5, 0.5, "no trained network in this table", ha="center", va="center")
    return figure


def _seeds(seeds: list[Entry]) -> str:
    return f", {len(seeds)} seeds" if len(seeds) > 1 else ""


def _run_title(run: Entry) -> str:
    return f"{run.model}\n" + _lines(f"{run.variant}, seed {run.config['seed']}")


def _lines(variant: str) -> str:
    """A variant's words in lines that fit above a plot, broken at spaces and before `+`."""
    return fill(variant.replace("+", " +"), TITLE).replace(" +", "+")
