"""How the benchmark measures: workers that are asked in turn, their rates, and whether a twin is the same network."""

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from data_prep.faceset import DataError
from evaluation.benchmark_table import FRAMEWORKS, NO_TWIN, NOT_INSTALLED, Measured
from evaluation.benchmark_task import AUGMENTED, INFERENCE, KINDS, ONE_THREAD, SINGLE, WITHOUT_TWIN, Spec
from models.recipe import RECIPES

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"onnx": ("onnx", "tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}  # requirements-export.txt
SAME_PX = 1e-3  # float32 twins agree within this


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
