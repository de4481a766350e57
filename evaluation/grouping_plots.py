"""Pictures of the grouping study. No faces: curves only."""

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from data_prep import relatives
from data_prep.style import STYLE
from evaluation.grouping_clusters import EQUAL, OUT_OF_FOLD, SHIPPED
from evaluation.grouping_curves import AIM_PRECISION, AIM_RECALL, GRADIENTS, MAP, PIXELS, Curve
from evaluation.plots import COLOURS

LEAK_GOAL_PCT, LARGEST_GOAL = 10, 300
METHODS = {
    MAP: (COLOURS[0], "-", "linear map (what data_prep uses)"),
    GRADIENTS: (COLOURS[1], "--", "gradients without the map"),
    PIXELS: (COLOURS[2], ":", "pixels of the aligned small image"),
}


def precision_recall(curves: dict[str, dict[str, Curve]], clusters: list[dict]) -> Figure:
    """A panel per data set: pairs by single similarity (lines), and by common cluster (dots), persons held out."""
    with rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 3.9 * len(curves), 4.4), layout="constrained")
        panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
        for ax, (name, found) in zip(panels, curves.items(), strict=True):
            for method, curve in found.items():
                colour, line, label = METHODS[method]
                steps = np.searchsorted(curve.recall_clip, np.linspace(0.005, 1, 400) - 1e-9)
                ax.plot(curve.recall_clip[steps], curve.precision[steps], color=colour, ls=line, lw=1.8, label=label)
            rows = [row for row in clusters if (row["data"], row["what"]) == (name, OUT_OF_FOLD)]
            for row in rows:
                x, y = row["pair_recall_clip_pct"] / 100, row["pair_precision_pct"] / 100
                label = "found by common cluster; filled: default" if row is rows[0] else None
                fill = COLOURS[0] if row["default"] else "white"
                ax.plot(x, y, "o", mec=COLOURS[0], mfc=fill, ms=5.5, ls="", label=label, zorder=3)
            ax.plot(AIM_RECALL, AIM_PRECISION, "*", color="0.15", ms=10, ls="", label="first aim", zorder=3)
            ax.set(title=name, xlabel="recall: share of the pairs of one clip", xlim=(0, 1.02), ylim=(0, 1.03))
        panels[0].set_ylabel("precision: share of found pairs that are one person")
        figure.suptitle("Pairs of faces of persons that the map has not seen", fontsize=10)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def clusters(rows: list[dict]) -> Figure:
    """Leakage, largest group and purity over the similarity at which clusters still join."""
    panels = (
        ("clip_in_train_pct", "test faces with their clip in train, %", LEAK_GOAL_PCT, "goal: below 10 %", "right"),
        ("largest_group_max", "faces in the largest group", LARGEST_GOAL, "limit: 300", "left"),
        ("purity_pct", "purity of the groups, %", None, None, None),
    )
    names = list(dict.fromkeys(row["data"] for row in rows))
    with rc_context(STYLE):
        figure = Figure(figsize=(10.5, 4.0), layout="constrained")
        axes = figure.subplots(1, len(panels))
        for ax, (column, title, goal, words, side) in zip(axes, panels, strict=True):
            for name, colour in zip(names, COLOURS, strict=False):
                for what, line in ((OUT_OF_FOLD, "-"), (SHIPPED, "--")):
                    points = [(r["similarity"], r[column]) for r in rows if (r["data"], r["what"]) == (name, what)]
                    ax.plot(
                        *zip(*points, strict=True), ls=line, marker="o", ms=4, color=colour, label=f"{name}, {what}"
                    )
            if goal is not None:
                ax.axhline(goal, color="0.3", lw=1, ls=(0, (1, 1.5)))
                place = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "ha": side}
                ax.annotate(words, (0.01 if side == "left" else 0.99, goal), (0, 3), **place)
            ax.axvline(relatives.SIMILARITY, color="0.75", lw=5, zorder=0.5)
            ax.set(title=title, xlabel="similarity at which clusters join (gray: default)")
            ax.invert_xaxis()
            ax.set_ylim(bottom=0 if goal is not None else None)
        before = [f"{r['data']} {r['clip_in_train_pct']:.0f} %" for r in rows if r["what"] == EQUAL]
        figure.suptitle(
            f"Groups by cluster. Before, with equal images alone in one group, clip in train: {', '.join(before)}",
            fontsize=10,
        )
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
