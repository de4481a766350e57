"""Where a result comes from: which code, with which libraries, on which machine."""

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from models.precision import vector_instructions

NUMERIC_SETTINGS = ("TF_ENABLE_ONEDNN_OPTS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "ONEDNN_MAX_CPU_ISA")
PACKAGES = ("keras", "tensorflow", "jax", "scikit-learn", "numpy")


def provenance(backend: str, command: str) -> dict:
    """Which code on which machine: commit, versions, CPU, cores. backend: what computed, such as `tensorflow`."""
    return {
        "backend": backend,
        "versions": {
            "python": platform.python_version(),
            **{name: found for name in PACKAGES if (found := _version(name))},
        },
        "commit": commit(),
        "command": command,
        "machine": {
            "cpu": _cpu(),
            "instructions": vector_instructions(),  # clouds name CPUs of several kinds alike
            "cores": os.cpu_count(),
            "system": platform.system(),
        },
        # what else changes the last bits of a result
        "environment": {name: os.environ[name] for name in NUMERIC_SETTINGS if name in os.environ},
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def commit() -> str:
    """This code's commit, with `+changes` where files that git tracks differ from it; `unknown` without git."""
    here = Path(__file__).resolve().parent.parent
    try:

        def git(*words):
            return subprocess.run(("git", "-C", here, *words), capture_output=True, text=True, check=True).stdout

        return git("rev-parse", "--short=12", "HEAD").strip() + (
            "+changes" if git("status", "--porcelain", "--untracked-files=no", "--", "*.py") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
