"""Speed of the networks in training and inference, beside PyTorch and the machine's matrix-product ceiling.

    python -m evaluation.benchmark                                    a quarter of an hour on 2 cores, and them alone
    python -m evaluation.benchmark --torch-python /path/to/python     with the PyTorch twins of that interpreter
    python -m evaluation.benchmark --models base --repeats 3          a part of it

Measures the CPU; a GPU is hidden. Each framework and precision of a network has a worker process, and they are asked
in turn: all rest while one works, and a repeat goes once round all of them, so that whatever drifts on the machine
meets all alike. Networks follow one another. Images are noise, since speed does not depend on what they show.
"""

import argparse
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from data_prep.faceset import DataError
from evaluation.benchmark_measure import measure
from evaluation.benchmark_table import (
    build_rows,
    speed_figure,
    to_csv,
    to_terminal,
)
from evaluation.benchmark_task import BUSY, usable_cores
from models.precision import cpu_has_bfloat16
from models.recipe import RECIPES
from models.registry import NAMES, parse

PRECISIONS = ("float32", "mixed_bfloat16")
MODELS = (*NAMES, "dsnt:size=small", "dsnt:size=tiny")


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        torch_python = check(options)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        results, machine = measure(options, torch_python)
        machine |= {"load_average_before": load, "command": options.command, "settings": settings(options)}
        machine["machine"]["bfloat16_instructions"] = cpu_has_bfloat16()
        rows = build_rows(results, machine["commit"], options.command)
        write(options.output, rows, machine)
    except (DataError, OSError) as error:
        print(f"evaluation.benchmark: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluation.benchmark: stopped; nothing was written", file=sys.stderr)
        return 130
    print(to_terminal(rows))
    shares = [share for result in results for share in result.elsewhere]
    if disturbed := sum(share > BUSY for share in shares):
        print(
            f"warning: in {disturbed} of {len(shares)} measurements other programs used more than {BUSY:.0%} of the "
            "CPU (column cpu_elsewhere_pct); these are not this machine's figures: run again when it is quiet",
            file=sys.stderr,
        )
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    quick = RECIPES["quick"]
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), help=f"default: {' '.join(PRECISIONS)}")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each thing (default: 5)")
    parser.add_argument("--seconds-per-measurement", type=float, default=1.5, metavar="S",
                        help="of training and inference; single faces and products a third (default: 1.5)")  # fmt: skip
    parser.add_argument("--batches", type=int, help="batches per measurement (default: what fills the seconds)")
    parser.add_argument("--batch-size", type=int, default=quick.batch_size,
                        help=f"in training (default: {quick.batch_size}, the quick recipe's)")  # fmt: skip
    parser.add_argument("--inference-batch", type=int, default=256, help="default: 256")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="default: all cores (%(default)s)")
    parser.add_argument("--torch-python", type=Path, metavar="PATH",
                        help="Python that has torch (default: this one, if it has)")  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("results/benchmark"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    options.command = shlex.join(["python", "-m", "evaluation.benchmark", *words])
    return options


def check(options: argparse.Namespace) -> Path | None:
    """The interpreter with torch, or None. Raises DataError for options that cannot be used, before anything runs."""
    for model in options.models:
        parse(model)
    for precision in options.precisions:
        if precision not in PRECISIONS:
            raise DataError(f"unknown precision {precision!r}; accepted: {', '.join(PRECISIONS)}")
    for name in ("models", "precisions"):
        if len(set(getattr(options, name))) < len(getattr(options, name)):
            raise DataError(f"--{name} names one twice")
    for name in ("repeats", "batches", "batch_size", "inference_batch", "seconds_per_measurement", "threads"):
        value, least = getattr(options, name), 0.01 if name.startswith("seconds") else 1
        if value is not None and not value >= least:
            raise DataError(f"--{name.replace('_', '-')} is {value}; {least} or more is accepted")
    if options.threads > usable_cores() or (options.threads < usable_cores() and not hasattr(os, "sched_setaffinity")):
        raise DataError(f"--threads is {options.threads}; this machine lets a benchmark use {usable_cores()}")
    place = options.output
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise DataError(f"cannot write to --output {options.output}: {place} is not a folder one may write to")
    if options.torch_python is None:
        return Path(sys.executable) if importlib.util.find_spec("torch") else None
    python = shutil.which(options.torch_python)
    if python is None:
        raise DataError(f"--torch-python {options.torch_python} is not a program")
    found = subprocess.run([python, "-c", "import numpy, torch"], capture_output=True, text=True)
    if found.returncode:
        why = found.stderr.strip().splitlines()[-1:]
        raise DataError(f"--torch-python {options.torch_python} cannot import numpy and torch: {' '.join(why)}")
    return Path(python).absolute()  # not resolved: a virtual environment's Python is a link


def settings(options: argparse.Namespace) -> dict:
    names = ("models", "precisions", "repeats", "batch_size", "inference_batch", "threads", "batches")
    return {**{name: getattr(options, name) for name in names}, "seconds": options.seconds_per_measurement}


def write(output: Path, rows: list[dict], machine: dict) -> None:
    from evaluation.output import DPI, write_together

    figure = speed_figure(rows, machine)
    write_together(
        output,
        {
            "speed.csv": lambda path: path.write_text(to_csv(rows)),
            "machine.json": lambda path: path.write_text(json.dumps(machine, indent=1) + "\n"),
            "speed.png": lambda path: figure.savefig(path, dpi=DPI, metadata={"Software": None}),
        },
    )
    print(f"written to {output}/: speed.csv, speed.png, machine.json\n")


if __name__ == "__main__":
    sys.exit(main())
