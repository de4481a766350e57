"""The forest plot of summary.csv: what each variant scores, and how far that could be off."""

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from data_prep.style import STYLE
from evaluation.plots import BASELINE, COLOURS
from evaluation.tables import Row

WHOLE = {"marker": "D", "ms": 5, "zorder": 3}
SEED = {"marker": "o", "ms": 3, "ls": "", "alpha": 0.6, "zorder": 3}


def intervals(rows: list[Row], noise_floor: dict | None = None) -> Figure:
    """RMSE of each variant with its 95 % interval, a small dot per seed; baselines gray and dashed.

    rows: of `evaluation.summary.summary`, drawn in that order, best on top. noise_floor: see
    `evaluation.entries.noise_floor`. Names stand above the lines, so that the plot is narrow enough for a phone.
    """
    rows = [row for row in rows if not np.isnan(row["rmse_px"])]
    models = sorted({row["model"] for row in rows if row["seeds"] is not None})
    with rc_context(STYLE):
        figure = Figure(figsize=(5.0, 1.3 + 0.4 * len(rows)), layout="constrained")
        ax = figure.subplots()
        for y, row in enumerate(rows):
            trained = row["seeds"] is not None
            # As `evaluation.plots.Looks` colours them.
            colour = COLOURS[models.index(row["model"]) % len(COLOURS)] if trained else BASELINE
            _row(ax, y, row, colour, "-" if trained else (0, (3, 2)))
        if noise_floor:
            kind = "simulated label noise" if noise_floor["simulated"] else "label noise"
            ax.axvline(noise_floor["rmse_px"], color="0.3", ls="--", lw=1, zorder=0.5)
            place = {"xytext": (3, 3), "textcoords": "offset points", "xycoords": ax.get_xaxis_transform()}
            ax.annotate(f"{kind} {noise_floor['rmse_px']:.2f}", (noise_floor["rmse_px"], 0), fontsize=8, **place)
        ax.set(title="Error with 95 % interval", xlabel="RMSE (px at 96x96), interval over groups of test faces")
        ax.set(ylim=(len(rows) - 0.3, -0.9), yticks=[])
        ax.margins(x=0.04)
        ax.spines["left"].set_visible(False)
        key = [Line2D([], [], color="0.3", **WHOLE), Line2D([], [], color="0.3", **SEED)]
        figure.legend(key, ["seeds together, 95 % interval", "single seed"], loc="outside lower center", ncols=2)
    return figure


def _row(ax: Axes, y: int, row: Row, colour: str, line) -> None:
    low, middle, high = row["rmse_low_px"], row["rmse_px"], row["rmse_high_px"]
    ax.plot([low, high], [y, y], color=colour, ls=line, lw=1.8)
    ax.plot([low, high], [y, y], color=colour, ls="", marker="|", ms=8, mew=1.8)
    ax.plot(middle, y, color=colour, **WHOLE)
    seeds = [float(value) for value in (row["rmse_of_seeds_px"] or "").split()]
    if len(seeds) > 1:
        ax.plot(seeds, np.full(len(seeds), y + 0.2), color=colour, **SEED)
    name = row["variant"] + (f", {len(seeds)} seeds" if len(seeds) > 1 else "")
    across = ax.get_yaxis_transform()
    # White behind the words, for the line of the label noise runs down the whole plot.
    words = {"xytext": (0, 6), "textcoords": "offset points", "bbox": {"fc": "white", "lw": 0, "pad": 0.5}}
    size = 10 * min(1, 40 / len(name))  # that what is long does not run into the number
    ax.annotate(name, (0, y), xycoords=across, color=colour, weight="bold", fontsize=size, **words)
    ax.annotate(f"{middle:.2f}", (1, y), xycoords=across, ha="right", **words)
