"""Accuracy against time: what an error costs in milliseconds. (Choose by validation, `val_rmse_px` in summary.csv.)"""

import csv
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from matplotlib.transforms import Bbox

from data_prep.faceset import DataError
from data_prep.style import STYLE
from evaluation.benchmark_task import ONE_THREAD
from evaluation.plots import COLOURS
from evaluation.tables import Row
from models.registry import parse

BENCHMARKS = Path("results/benchmark")
OTHERS = ("drop", "specialist")  # validated on fewer faces; two networks in one


def one_thread_ms(folder: Path = BENCHMARKS) -> dict[str, float]:
    """Milliseconds a face by network, as tables call it: ONNX Runtime in float32, one face, one core.

    Of the speed.csv in the folder, or below it, that has most networks: times of two machines do not mix. Empty where
    there is none.
    """
    return max((_read(path) for path in sorted(folder.rglob("speed.csv"))), key=len, default={})


def _label(ax, name: str, place: tuple[float, float], colour, taken: list[Bbox]) -> Bbox:
    """Write a name beside a point, where it overlaps nothing if there is such a place; returns what it covers."""
    for dx, dy in ((7, 5), (7, -5), (-7, 5), (-7, -5), (7, 22), (7, -22), (7, 5)):
        words = {"ha": "left" if dx > 0 else "right", "va": "bottom" if dy > 0 else "top"}
        text = ax.annotate(name, place, (dx, dy), textcoords="offset points", fontsize=8, color=colour, **words)
        box = text.get_window_extent()
        inside = ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1
        if inside and box.count_overlaps(taken) == 0:
            return box
        text.remove()
    ax.add_artist(text)  # the usual place, whatever lies there
    return box


def _read(path: Path) -> dict[str, float]:
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["what"] == ONE_THREAD and row["image_ms"]]
    rows = [row for row in rows if (row["framework"], row["precision"]) == ("onnx", "float32")]
    found = {}
    for row in rows:
        try:
            found[parse(row["model"]).name] = float(row["image_ms"])
        except DataError:  # a network that there is no more
            continue
    return found


# Of a logarithmic axis, the numbers with a tick in every power of ten.
COARSE, FINE = (1, 2, 5), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)


def accuracy_against_time(rows: list[Row], milliseconds: dict[str, float]) -> Figure | None:
    """Test RMSE with its interval over the time for a face, each network by the variant that validated best.

    rows: of `evaluation.summary.summary`, of 15 points on 96x96 pixels, as the times are. milliseconds: by network.
    None where fewer than two networks have a time.
    """
    trained = [row for row in rows if row["seeds"] is not None and row["treatment"] not in OTHERS]
    chosen: dict[str, Row] = {}
    for row in sorted(trained, key=lambda row: (np.isnan(row["val_rmse_px"]), row["val_rmse_px"])):
        if row["model"] in milliseconds and not np.isnan(row["rmse_px"]):
            chosen.setdefault(row["model"], row)
    if len(chosen) < 2:
        return None
    colours = {model: COLOURS[i % len(COLOURS)] for i, model in enumerate(sorted({row["model"] for row in trained}))}
    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, 4.6), layout="constrained")
        ax = figure.subplots()
        for model, row in chosen.items():
            low, middle, high = row["rmse_low_px"], row["rmse_px"], row["rmse_high_px"]
            ax.errorbar(milliseconds[model], middle, [[middle - low], [high - middle]], fmt="o", ms=6, capsize=3,
                        color=colours[model])  # fmt: skip
        ax.set(xscale="log", xlabel="ms a face: ONNX Runtime, float32, one core", ylabel="RMSE (px at 96x96)",
               title="Accuracy against time: lower left is better")  # fmt: skip
        times = [milliseconds[model] for model in chosen]
        ax.xaxis.set_major_locator(LogLocator(subs=COARSE if max(times) > 4 * min(times) else FINE))
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.margins(x=0.18, y=0.12)
        figure.draw_without_rendering()  # where the axes lie, and so what overlaps, is known from here on
        taken = [ax.transData.transform((milliseconds[model], row["rmse_px"])) for model, row in chosen.items()]
        taken = [Bbox.from_extents(*(place - 6), *(place + 6)) for place in taken]
        for model, row in chosen.items():
            name = f"{model}\n{row['recipe']}, {row['treatment']}"
            taken.append(_label(ax, name, (milliseconds[model], row["rmse_px"]), colours[model], taken))
    return figure
