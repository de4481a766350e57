"""From the benchmark's measurements to rows, a CSV table and a figure. Pure: measures nothing, saves nothing."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from evaluation.benchmark_task import AUGMENTED, INFERENCE, ONE_THREAD, PRODUCT, SINGLE, TRAINING, Spec
from evaluation.flops import TRAINING_OVER_FORWARD

FRAMEWORKS = {"keras": "Keras", "pytorch": "PyTorch", "onnx": "ONNX Runtime", "litert": "LiteRT"}
MEASURED, NOT_INSTALLED, NO_TWIN = "measured", "not installed", "no twin"
DIGITS = {"px": ".1e", "ratio": ".3f", "ms": ".3f", "mb": ".0f"}  # by a column's last word; else 1 digit


@dataclass
class Measured:
    """What one worker found of one kind. `rates`: images/s of each repeat (operations/s for the matrix product)."""

    what: str
    spec: Spec
    status: str = MEASURED
    backend: str = ""
    threads: int | None = None
    calls: int | None = None
    parameters: int | None = None
    flops: int | None = None  # of a forward pass for one image
    difference_px: float | None = None
    peak_rss_mb: float | None = None
    rates: list[float] = field(default_factory=list)
    elsewhere: list[float] = field(default_factory=list)  # share of CPU time that others used, per repeat

    @property
    def key(self) -> tuple[str, str, str]:
        return self.what, self.spec.model, self.spec.precision


def build_rows(results: list[Measured], commit: str, command: str) -> list[dict]:
    """One row per thing measured, numbers unrounded, None where there is none; products pooled over models."""
    results = [r for r in results if r.what != PRODUCT] + list(pooled_products(results))
    ceilings: dict[str, float] = {}
    for r in results:
        if r.what == PRODUCT and r.rates:
            ceilings[r.spec.precision] = max(ceilings.get(r.spec.precision, 0), float(np.median(r.rates)))
    keras = {r.key: r.rates for r in results if r.spec.framework == "keras"}
    trainings = (TRAINING, AUGMENTED)
    rows = []
    for r in results:
        product = r.what == PRODUCT
        middle, low, high = spread(r.rates)
        flops = None if product or r.flops is None else r.flops * (TRAINING_OVER_FORWARD if r.what in trainings else 1)
        work = 1e-9 if product else scaled(flops, 1e-9)
        # The ceiling is of all cores together.
        ceiling = None if r.what == ONE_THREAD else scaled(ceilings.get(r.spec.precision), 1e-9)
        gflops = scaled(middle, work)
        ratios = spread(ratio(keras.get(r.key, []), r.rates)) if r.spec.framework == "pytorch" else (None,) * 3
        plain = keras.get((TRAINING, *r.key[1:]), []) if r.what == AUGMENTED else []
        augmented = spread(ratio(r.rates, plain))
        batches = {INFERENCE: r.spec.inference_batch, SINGLE: 1, ONE_THREAD: 1, PRODUCT: None}
        rows.append(
            {
                "what": r.what,
                "model": "" if product else r.spec.model,
                "precision": r.spec.precision,
                "framework": r.spec.framework,
                "backend": r.backend,
                "status": r.status,
                "batch_size": batches.get(r.what, r.spec.batch_size),
                "images_per_s": None if product else middle,
                "images_per_s_min": None if product else low,
                "images_per_s_max": None if product else high,
                "image_ms": None if product or middle is None else 1000 / middle,
                "gflop_per_s": gflops,
                "gflop_per_s_min": scaled(low, work),
                "gflop_per_s_max": scaled(high, work),
                "ceiling_gflop_per_s": ceiling,
                "ceiling_pct": None if gflops is None or ceiling is None else 100 * gflops / ceiling,
                "keras_over_torch_ratio": ratios[0],
                "keras_over_torch_min_ratio": ratios[1],
                "keras_over_torch_max_ratio": ratios[2],
                "augmented_over_plain_ratio": augmented[0],
                "augmented_over_plain_min_ratio": augmented[1],
                "augmented_over_plain_max_ratio": augmented[2],
                "image_mflop": scaled(flops, 1e-6),
                "parameters": None if product else r.parameters,
                "twin_difference_px": None if product else r.difference_px,
                "repeats": len(r.rates) or None,
                "batches_per_repeat": r.calls,
                "threads": 1 if r.what == ONE_THREAD and r.threads else r.threads,
                "peak_rss_mb": r.peak_rss_mb,
                "cpu_elsewhere_pct": scaled(float(np.median(r.elsewhere)) if r.elsewhere else None, 100),
                "commit": commit,
                "command": command,
            }
        )
    return rows


def pooled_products(results: list[Measured]) -> Iterator[Measured]:
    """The matrix products of all models' workers together, one result per framework and precision."""
    groups: dict[tuple[str, str], list[Measured]] = {}
    for r in results:
        if r.what == PRODUCT:
            groups.setdefault((r.spec.framework, r.spec.precision), []).append(r)
    for group in groups.values():
        memory = [r.peak_rss_mb for r in group if r.peak_rss_mb is not None]
        yield replace(
            group[0],
            rates=[rate for r in group for rate in r.rates],
            elsewhere=[share for r in group for share in r.elsewhere],
            peak_rss_mb=max(memory, default=None),
        )


def spread(values: list[float]) -> tuple[float | None, float | None, float | None]:
    """Median, least and largest; None without values."""
    return (float(np.median(values)), min(values), max(values)) if values else (None, None, None)


def ratio(rates: list[float], others: list[float]) -> list[float]:
    """One over the other (Keras, PyTorch) repeat by repeat, since the two of a repeat ran under like conditions."""
    return [a / b for a, b in zip(rates, others, strict=True)] if rates and others else []


def scaled(value: float | None, factor: float | None) -> float | None:
    return None if value is None or factor is None else value * factor


def to_csv(rows: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([cell(column, value) for column, value in row.items()] for row in rows)
    return text.getvalue()


def cell(column: str, value: object) -> str:
    if isinstance(value, float):
        return format(value, DIGITS.get(column.rsplit("_", 1)[-1], ".1f"))
    return "" if value is None else str(value)


def to_terminal(rows: list[dict]) -> str:
    """The table at a glance, as aligned text."""
    shown = {
        "what": "", "model": "model", "precision": "precision", "framework": "framework",
        "images_per_s": "images/s", "image_ms": "ms/image", "gflop_per_s": "GFLOP/s",
        "ceiling_pct": "of ceiling %", "keras_over_torch_ratio": "Keras/PyTorch",
        "augmented_over_plain_ratio": "augmented/plain", "cpu_elsewhere_pct": "others' CPU %",
    }  # fmt: skip
    table = [list(shown.values())]
    for row in rows:
        line = [cell(column, row[column]) for column in shown]
        table.append(line if row["status"] == MEASURED else [*line[:4], row["status"], *line[5:]])
    widths = [max(len(line[i]) for line in table) for i in range(len(shown))]
    aligned = [
        [*map(str.ljust, line[:4], widths[:4]), *map(str.rjust, line[4:], widths[4:])]  # words, then numbers
        for line in table
    ]
    return "\n".join("  ".join(line) for line in aligned)


def speed_figure(rows: list[dict], machine: dict):
    """Images/s as a matplotlib `Figure`: a panel per kind, a bar per framework with its range and share of ceiling."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from data_prep.style import STYLE
    from evaluation.plots import COLOURS

    colours = dict(zip(FRAMEWORKS, COLOURS, strict=False))
    shown_kinds = (TRAINING, INFERENCE, SINGLE)
    bars = [row for row in rows if row["what"] in shown_kinds and row["status"] == MEASURED]
    bars = [row for row in bars if row["precision"] != "int8"]  # of which there is no matrix product to compare with
    places = list(dict.fromkeys((row["model"], row["precision"]) for row in bars))
    shown = [name for name in FRAMEWORKS if any(row["framework"] == name for row in bars)]
    with rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(10.5, 1.5 + 0.62 * len(places)), layout="constrained")
        for ax, what in zip(figure.subplots(1, 3, sharey=True), shown_kinds, strict=True):
            ours = [row for row in bars if row["what"] == what]
            for row in ours:
                middle, name = row["images_per_s"], row["framework"]
                height = 0.8 / len(shown)
                y = places.index((row["model"], row["precision"])) + (shown.index(name) - (len(shown) - 1) / 2) * height
                error = [[middle - row["images_per_s_min"]], [row["images_per_s_max"] - middle]]
                ax.barh(y, middle, height * 0.92, color=colours[name], xerr=error, ecolor="0.2", capsize=2,
                        error_kw={"elinewidth": 0.9})  # fmt: skip
                each = f" ({row['image_ms']:.2f} ms)" if what == SINGLE else ""
                ax.annotate(f"{middle:,.0f}{each} · {row['ceiling_pct']:.2g} %", (row["images_per_s_max"], y), (4, 0),
                            textcoords="offset points", va="center", fontsize=8)  # fmt: skip
            batch = ours[0]["batch_size"]
            title = "one face at a time" if what == SINGLE else f"{what}, batches of {batch}"
            ax.set(title=title, xlabel="images/s", xlim=(0, 1.6 * max(row["images_per_s_max"] for row in ours)))
            ax.set_yticks(range(len(places)), [f"{model}\n{precision}" for model, precision in places])
        ax.invert_yaxis()
        key = [figure.axes[0].barh([0], [0], color=colours[name]) for name in shown]
        words = "bar: median, line: least to most; % of the matrix-product ceiling at that precision"
        hardware = machine.get("machine", {})
        figure.legend(key, [FRAMEWORKS[name] for name in shown], loc="outside lower left", ncols=2)
        figure.supxlabel(f"{words}\n{hardware.get('cpu', '')}, {bars[0]['threads']} threads", fontsize=8, x=0.6)
    return figure
