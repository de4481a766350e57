"""No circles: evaluation and inference see models and data_prep, models see data_prep, nothing looks up."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from models.registry import NAMES

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("data_prep", "models", "evaluation", "inference")
FORBIDDEN = {
    "data_prep": {"models", "evaluation", "inference", "tensorflow", "keras", "jax", "torch"},
    "models": {"evaluation", "inference", "tensorflow", "jax", "torch"},  # Keras only, so that any backend runs
    "evaluation": {"inference", "tensorflow", "jax"},
    "inference": {"evaluation", "tensorflow", "jax"},
}
OPTIONAL = {
    "torch_twins.py",
    "benchmark_sides.py",
    "training_profile.py",
}  # what measures other frameworks may import them


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("floor", FLOORS)
def test_no_floor_looks_up(floor):
    files = [path for path in (ROOT / floor).rglob("*.py") if path.name not in OPTIONAL]
    assert files
    wrong = {path.name: sorted(names) for path in files if (names := imported(path) & FORBIDDEN[floor])}
    assert wrong == {}


COMMANDS = (
    *("data_prep", "data_prep.relatives_fit"),
    *(
        f"models.{name}"
        for name in (*NAMES, "ridge", "nearest_neighbour", "specialist", "taught", "ensemble", "apply", "pretrained")
    ),
    *(
        "evaluation",
        "evaluation.study",
        "evaluation.leakage",
        "evaluation.report",
        "evaluation.benchmark",
        "evaluation.training_profile",
    ),
    "evaluation.ablation",
    *("evaluation.features", "evaluation.submission", "data_prep.augment"),
    *("evaluation.before_after", "evaluation.splits"),
    *("inference", "inference.export", "inference.app", "inference.confidence", "inference.measure"),
)


def test_ctrl_c_is_one_line():
    """A command that answers bad input with a line of its own does so where it is stopped, too."""
    texts = {path: path.read_text() for floor in FLOORS for path in (ROOT / floor).rglob("*.py")}
    commands = {path.name: text for path, text in texts.items() if "def main(" in text and "except (DataError" in text}
    assert len(commands) > 20
    without = {name for name, text in commands.items() if "except KeyboardInterrupt" not in text}
    assert without == {"taught.py"}  # whose work is `models.trainer.make_run`


@pytest.mark.parametrize("module", COMMANDS)
def test_help_answers_without_heavy_imports(module):
    code = (
        f"import sys, runpy; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('{module}', run_name='__main__')\n"
        f"except SystemExit: pass\n"
        f"assert not {{'tensorflow', 'keras', 'jax', 'matplotlib'}} & set(sys.modules), 'heavy import'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m" in done.stdout
