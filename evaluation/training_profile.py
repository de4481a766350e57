"""Where the time of a training step goes: convolutions, normalisation, optimizer and the rest.

    python -m evaluation.training_profile                      dsnt's three sizes by its recipe, 4 minutes on 2 cores
    python -m evaluation.training_profile --models base v1 --recipe augmented

Trains for some steps under TensorFlow's profiler, which notes when each operation ran, and adds them up by the layer
they are of. Operations of several threads share the cores, so each gets its share of the time in which any ran. It
wants the machine to itself. Writes `training_profile.csv`; results/README.md explains its columns.
"""

import argparse
import csv
import re
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.prepared import Split, load
from evaluation.benchmark_task import BUSY
from models.recipe import get_recipe
from models.registry import parse

MODELS = ("dsnt", "dsnt:size=small", "dsnt:size=tiny")
STEP, CEILING, NOTHING = "step", "counted operations at the ceiling", "nothing runs"
FORWARD, INPUTS, WEIGHTS = "convolutions", "convolutions, gradient of inputs", "convolutions, gradient of weights"
DENSE, NORMALISATION, LAYERS = "dense layers", "batch normalisation", "other layers"
LOSS, OPTIMIZER, FACES, OTHER = "loss", "optimizer", "batches and augmentation", "sums of gradients, metrics"
PARTS = (FORWARD, INPUTS, WEIGHTS, DENSE, NORMALISATION, LAYERS, LOSS, OPTIMIZER, FACES, OTHER)
OPERATION = re.compile(r"([^:]*):(\w+)")  # where in the graph, and its kind; the profiler's own events look otherwise
PRODUCTS = 20  # matrix products in a measurement of the ceiling
COLUMNS = ("model", "recipe", "part", "step_ms", "step_ms_min", "step_ms_max", "step_pct", "repeats",
           "steps_per_repeat", "batch_size", "precision", "threads", "cpu_elsewhere_pct", "commit",
           "command")  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(arguments)
    try:
        for name in ("steps", "repeats"):
            if getattr(args, name) < 1:
                raise DataError(f"--{name} is {getattr(args, name)}; 1 or more is accepted")
        recipe, models, data = get_recipe(args.recipe), [parse(model) for model in args.models], load(args.data)
        if recipe.batch_size * args.steps > len(data.train):
            most = len(data.train) // recipe.batch_size
            raise DataError(f"--steps is {args.steps}; {args.data} has faces for {most} of {recipe.batch_size}")
        rows = []
        for name, model in zip(args.models, models, strict=True):
            print(f"{name}: {args.repeats} x {args.steps} steps", flush=True)
            rows += profile(name, model, data, recipe, args)
        write(args.output, rows)
    except (DataError, OSError) as error:
        print(f"evaluation.training_profile: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluation.training_profile: stopped; nothing was written", file=sys.stderr)
        return 130
    for row in rows:
        print(f"{row['model']:<17} {row['part']:<34} {row['step_ms']:>8} ms {row['step_pct']:>6} %")
    if (elsewhere := max(float(row["cpu_elsewhere_pct"] or 0) for row in rows)) > 100 * BUSY:
        print(
            f"warning: other programs used up to {elsewhere} % of the CPU; these are not this machine's figures: run "
            "again when it is quiet",
            file=sys.stderr,
        )
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.training_profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--recipe", default="best", help="default: best")
    parser.add_argument("--data", type=Path, default=Path("data/prepared/synthetic"), help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=30, help="in a repeat (default: 30)")
    parser.add_argument("--repeats", type=int, default=3, help="default: 3")
    parser.add_argument("--output", type=Path, default=Path("results/benchmark"), help="default: %(default)s")
    args = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    args.command = shlex.join(["python", "-m", "evaluation.training_profile", *words])
    return args


def profile(name: str, model, data, recipe, args: argparse.Namespace) -> list[dict]:
    """The rows of one network. Raises DataError where Keras runs on another backend than TensorFlow."""
    from models.backend import import_keras

    keras = import_keras()
    if keras.backend.backend() != "tensorflow":
        raise DataError(f"only TensorFlow's profiler is asked here, and Keras runs on {keras.backend.backend()}")
    from evaluation.benchmark_measure import busy_seconds
    from evaluation.benchmark_sides import EpochSeconds
    from evaluation.benchmark_task import PRODUCT_SIZE, usable_cores
    from evaluation.flops import TRAINING_OVER_FORWARD, forward_flops
    from models import fitting, label_rules
    from models.precision import resolve
    from models.provenance import commit

    precision, face = resolve("auto"), np.array(data.manifest["mean_face"])
    train = first(data.train, recipe.batch_size * args.steps)
    train, _, schema, face = label_rules.lessons(recipe.label_rules, train, data.val, data.schema, face)
    training = fitting.set_up(model, train, schema, face, recipe, 0, precision)
    training.compile(recipe, recipe.learning_rate)
    clock = EpochSeconds(keras)

    def steps():
        training.trained.fit(training.batches, epochs=1, shuffle=False, verbose=0, callbacks=[clock.callback])

    steps()  # traces, and finds its memory
    seconds, products, shares = [], [], []
    busy, own, start = busy_seconds(), time.process_time(), time.perf_counter()
    for _ in range(args.repeats):
        products.append(product_seconds(keras, precision))
        steps()
        seconds.append(clock.value / args.steps)
        shares.append(shares_of(profiled(steps), part_of(training)))
    elsewhere = None
    if busy is not None:
        used = busy_seconds() - busy - (time.process_time() - own)
        elsewhere = f"{100 * max(0.0, used / ((time.perf_counter() - start) * usable_cores())):.1f}"
    flops = TRAINING_OVER_FORWARD * forward_flops(training.network) * recipe.batch_size
    limit = [flops * product / (2 * PRODUCT_SIZE**3) for product in products]
    found = {STEP: seconds, CEILING: limit}
    for part in (*PARTS, NOTHING):
        found[part] = [share.get(part, 0.0) * step for share, step in zip(shares, seconds, strict=True)]
    about = {
        "repeats": args.repeats,
        "steps_per_repeat": args.steps,
        "batch_size": recipe.batch_size,
        "precision": precision,
        "threads": usable_cores(),
        "cpu_elsewhere_pct": elsewhere,
        "commit": commit(),
        "command": args.command,
    }
    return [
        {"model": name, "recipe": recipe.name, "part": part, **figures(times, seconds), **about}
        for part, times in found.items()
        if any(times)
    ]


def figures(times: list[float], steps: list[float]) -> dict[str, str]:
    """Median, least and most of `times` [s] in ms, and the median of their shares of the steps' [s]."""
    middle, *ends = (f"{1000 * value:.1f}" for value in (np.median(times), min(times), max(times)))
    share = np.median(np.divide(times, steps))
    return {"step_ms": middle, "step_ms_min": ends[0], "step_ms_max": ends[1], "step_pct": f"{100 * share:.1f}"}


def first(split: Split, count: int) -> Split:
    return replace(split, **{name: getattr(split, name)[:count] for name in Split.__dataclass_fields__})


def product_seconds(keras, precision: str) -> float:
    """Of a product of two square matrices, the mean of some."""
    from evaluation.benchmark_sides import multiply, product_matrix

    matrix = product_matrix(keras, precision)
    multiply(keras, matrix, 1)
    start = time.perf_counter()
    multiply(keras, matrix, PRODUCTS)
    return (time.perf_counter() - start) / PRODUCTS


def profiled(work) -> list[tuple[str, int, int]]:
    """What `work()` makes TensorFlow do: each operation's name, begin and end in ps, of all threads."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        try:
            work()
        finally:
            tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        for path in Path(folder).rglob("*.xplane.pb"):
            space.MergeFromString(path.read_bytes())
    found = []
    for plane in space.planes:
        for line in plane.lines:
            origin = 1000 * line.timestamp_ns
            for event in line.events:
                name, begin = plane.event_metadata[event.metadata_id].name, origin + event.offset_ps
                if OPERATION.fullmatch(name):
                    found.append((name, begin, begin + event.duration_ps))
    return found


def shares_of(operations: list[tuple[str, int, int]], part_of) -> dict[str, float]:
    """Each part's share of the time from the first operation's begin to the last one's end; they add up to 1.

    While several operations run, their parts share the time as they share all threads' time. part_of: of a name.
    """
    busy, threads, end = 0, Counter(), min(begin for _, begin, _ in operations)
    whole = max(end for *_, end in operations) - end
    for name, begin, finish in sorted(operations, key=lambda operation: operation[1]):
        threads[part_of(name)] += finish - begin
        busy += max(0, finish - max(begin, end))
        end = max(end, finish)
    total = sum(threads.values())
    return {part: busy / whole * time / total for part, time in threads.items()} | {NOTHING: 1 - busy / whole}


def part_of(training):
    """A function that says which of `PARTS` an operation is of, by its name, in the graph of a `fitting.Training`."""
    import keras

    from models.batch_norm import SCOPE

    network, optimizer = training.trained, without_number(training.trained.optimizer.name)
    layers = {layer.name: layer for layer in all_layers(network)}
    normalising = keras.layers.BatchNormalization, keras.layers.LayerNormalization
    convolving = keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Conv2DTranspose

    def part(name: str) -> str:
        path, kind = OPERATION.fullmatch(name).groups()
        places = path.split("/")
        scopes = {without_number(place) for place in places}
        if kind in ("PyFunc", "EagerPyFunc"):
            return FACES
        for scope, found in ((optimizer, OPTIMIZER), ("compile_loss", LOSS), (SCOPE, NORMALISATION)):
            if scope in scopes:
                return found
        named = [layers.get(without_number(place)) or layers.get(place) for place in places]
        layer = next((layer for layer in reversed(named) if layer is not None), None)
        if isinstance(layer, normalising):
            return NORMALISATION
        if isinstance(layer, keras.layers.Dense):
            return DENSE
        if isinstance(layer, convolving):
            return WEIGHTS if "BackpropFilter" in kind else INPUTS if "BackpropInput" in kind else FORWARD
        return LAYERS if layer is not None or network.name in scopes else OTHER

    return part


def all_layers(network) -> Iterator:
    """Its layers, and those of the networks among them."""
    for layer in network.layers:
        yield layer
        yield from all_layers(layer) if hasattr(layer, "layers") else ()


def without_number(name: str) -> str:
    """A name without what makes it one of its own: TensorFlow numbers scopes, Keras optimizers."""
    return re.sub(r"_\d+$", "", name)


def write(output: Path, rows: list[dict]) -> None:
    from evaluation.output import write_together

    def table(path: Path) -> None:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    write_together(output, {"training_profile.csv": table})
    print(f"written to {output}/: training_profile.csv\n")


if __name__ == "__main__":
    sys.exit(main())
