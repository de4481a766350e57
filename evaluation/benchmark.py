"""Speed of the networks in training and inference, beside PyTorch and the machine's matrix-product ceiling.

    python -m evaluation.benchmark                                    a quarter of an hour on 2 cores, and them alone
    python -m evaluation.benchmark --torch-python /path/to/python     with the PyTorch twins of that interpreter
    python -m evaluation.benchmark --models base --repeats 3          a part of it

Measures the CPU; a GPU is hidden. Each framework and precision of a network has a worker process, and they are asked
in turn: all rest while one works, and a repeat goes once round all of them, so that whatever drifts on the machine
meets all alike. Networks follow one another. Images are noise, since speed does not depend on what they show.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from data_prep.faceset import DataError
from evaluation.benchmark_table import (
    FRAMEWORKS,
    NO_TWIN,
    NOT_INSTALLED,
    Measured,
    build_rows,
    speed_figure,
    to_csv,
    to_terminal,
)
from evaluation.benchmark_task import (
    AUGMENTED,
    INFERENCE,
    KINDS,
    ONE_THREAD,
    SINGLE,
    WITHOUT_TWIN,
    Spec,
    usable_cores,
)
from models.precision import cpu_has_bfloat16
from models.recipe import RECIPES
from models.registry import NAMES, parse

ROOT = Path(__file__).resolve().parents[1]
PRECISIONS = ("float32", "mixed_bfloat16")
MODELS = (*NAMES, "dsnt:size=small", "dsnt:size=tiny")
PACKAGES = {"onnx": ("onnx", "tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}  # requirements-export.txt
SAME_PX = 1e-3  # float32 twins agree within this
BUSY = 0.05  # share of the machine's CPU time that other programs may use


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


class Worker:
    """A process of `evaluation.benchmark_worker`."""

    def __init__(self, python: Path, spec: Spec):
        self.spec = spec
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 closed with the worker
        threads = {name: str(spec.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        quiet = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
        if spec.framework in PACKAGES:
            quiet["KERAS_BACKEND"] = "tensorflow"  # which alone writes such files
        self._process = subprocess.Popen(
            [python, "-m", "evaluation.benchmark_worker"],
            cwd=ROOT, env={**os.environ, **threads, **quiet}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        self.tell("build", **asdict(spec))  # several may start at once

    def ask(self, do: str, **details) -> dict:
        self.tell(do, **details)
        return self.hear()

    def tell(self, do: str, **details) -> None:
        with contextlib.suppress(BrokenPipeError):  # `hear` finds out why
            print(json.dumps({"do": do, **details}), file=self._process.stdin, flush=True)

    def hear(self) -> dict:
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            spec = self.spec
            raise DataError(f"the {spec.framework} {spec.precision} worker of {spec.model} failed: {answer['error']}")
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return lines[-1] if lines else f"exit code {code}"


def measure(options: argparse.Namespace, torch_python: Path | None) -> tuple[list[Measured], dict]:
    """Everything, model after model; and the machine it ran on."""
    from tqdm import tqdm

    specs = [
        Spec(
            framework, model, precision, options.threads, options.batch_size, options.inference_batch,
            RECIPES["quick"].learning_rate, options.seconds_per_measurement, options.batches,
        )
        for model in options.models
        for precision, frameworks in rivals(options.precisions).items() for framework in frameworks
    ]  # fmt: skip
    pythons = {spec: python_of(spec, torch_python) for spec in specs}
    results, machine = [], {}
    steps = (options.repeats + 1) * sum(len(kinds(spec)) for spec in specs if pythons[spec])
    with tqdm(total=steps, unit="step", disable=None) as bar:
        for model in options.models:
            ours = [spec for spec in specs if spec.model == model]
            results += measure_model(ours, pythons, options.repeats, machine, bar)
    return results, machine


def rivals(precisions: list[str]) -> dict[str, list[str]]:
    """Frameworks by precision: files are of float32, and ONNX also of eight bits."""
    found = {name: [f for f in FRAMEWORKS if f not in PACKAGES or name == "float32"] for name in precisions}
    return {**found, "int8": ["onnx"]} if "float32" in precisions else found


def python_of(spec: Spec, torch_python: Path | None) -> Path | None:
    """The interpreter of a worker; None where there can be none."""
    if spec.framework == "keras":
        return Path(sys.executable)
    if spec.framework in PACKAGES:
        return Path(sys.executable) if all(map(importlib.util.find_spec, PACKAGES[spec.framework])) else None
    return None if name_of(spec) in WITHOUT_TWIN else torch_python


def name_of(spec: Spec) -> str:
    """The model's without its options."""
    return spec.model.split(":")[0]


def kinds(spec: Spec) -> list[str]:
    """What is measured of a worker: the study's augmentation is no part of another framework, files only predict."""
    if spec.framework in PACKAGES:
        return [INFERENCE, SINGLE, ONE_THREAD] if spec.framework == "onnx" else [SINGLE, ONE_THREAD]
    return [what for what in KINDS if what != ONE_THREAD and (what != AUGMENTED or spec.framework == "keras")]


def measure_model(specs: list[Spec], pythons: dict, repeats: int, machine: dict, bar) -> list[Measured]:
    """One model's workers, all alive, asked in turn. Adds what they say of versions and hardware to `machine`."""
    bar.set_description(f"{specs[0].model}: start")
    results = [Measured(what, spec) for what in KINDS for spec in specs if what in kinds(spec)]
    workers: dict[Spec, Worker] = {}
    try:
        for spec in specs:
            if pythons[spec]:
                workers[spec] = Worker(pythons[spec], spec)
        about = {spec: worker.hear() for spec, worker in workers.items()}
        for found in about.values():
            machine["versions"] = {**machine.get("versions", {}), **found["versions"]}
            machine |= {name: found[name] for name in ("machine", "commit", "started") if name in found}
        difference = compare_twin([*workers.values()])
        for result in results:
            if result.spec not in workers:
                result.status = NOT_INSTALLED
                if result.spec.framework == "pytorch" and name_of(result.spec) in WITHOUT_TWIN:
                    result.status = NO_TWIN
                continue
            found = about[result.spec]
            result.backend, result.threads = found["backend"], found["threads"]
            result.parameters = found["parameters"] or next(iter(about.values()))["parameters"]
            result.flops = next(other["flops"] for other in about.values() if "flops" in other)
            result.difference_px = found.get("difference_px", difference)
            bar.set_description(f"{result.spec.model}: warm up")
            result.calls = workers[result.spec].ask("warm", what=result.what)["calls"]
            bar.update()
        for repeat in range(repeats):
            bar.set_description(f"{specs[0].model}: repeat {repeat + 1}")
            for result in in_turn(results, repeat):
                if result.spec in workers:
                    rate, elsewhere = one_measurement(workers[result.spec], result.what)
                    result.rates.append(rate)
                    result.elsewhere += [] if elsewhere is None else [elsewhere]
                    bar.update()
        memory = {spec: worker.ask("memory")["peak_rss_mb"] for spec, worker in workers.items()}
        for result in results:
            result.peak_rss_mb = memory.get(result.spec)
    finally:
        for worker in workers.values():
            worker.close()
    return results


def in_turn(results: list[Measured], repeat: int) -> list[Measured]:
    """Kind after kind, so that rivals follow each other closely; who goes first changes with the repeat."""
    return results if repeat % 2 == 0 else results[::-1]


def compare_twin(workers: list[Worker]) -> float | None:
    """Largest distance in px between the outputs of the Keras model and its twin with the same float32 weights.

    Raises DataError where the twin is another network. None without PyTorch.
    """
    twins = ("keras", "pytorch")
    first = {framework: next((w for w in workers if w.spec.framework == framework), None) for framework in twins}
    if None in first.values():
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "weights.npz")
        exported = first["keras"].ask("export", path=path)
        found = first["pytorch"].ask("check", path=path)
    model = first["keras"].spec.model
    if found["parameters"] != exported["parameters"]:
        raise DataError(
            f"the PyTorch twin of {model} has {found['parameters']} parameters, not {exported['parameters']}"
        )
    if not found["difference_px"] <= SAME_PX or not abs(found["loss_ratio"] - 1) <= 1e-4:
        how = f"{found['difference_px']:.2g} px apart, loss {found['loss_ratio']:.5f} times as large"
        raise DataError(f"the PyTorch twin of {model} is another network: {how}")
    return found["difference_px"]


def one_measurement(worker: Worker, what: str) -> tuple[float, float | None]:
    """Rate, and the share of the machine's CPU time that went elsewhere meanwhile (None where Linux is not)."""
    busy, start = busy_seconds(), time.perf_counter()
    found = worker.ask("measure", what=what)
    if busy is None:
        return found["rate"], None
    elsewhere = busy_seconds() - busy - found["cpu_seconds"]
    return found["rate"], max(0.0, elsewhere / ((time.perf_counter() - start) * os.cpu_count()))


def busy_seconds() -> float | None:
    """CPU seconds that all programs together have used since the start of the machine, stolen time included."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return None
    user, nice, system, _idle, _wait, interrupts, soft, steal = map(int, words[1:9])
    return (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")


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
