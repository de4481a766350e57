"""The notebook for teaching runs from top to bottom."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "two_networks.ipynb"


@pytest.mark.slow
def test_notebook_runs():
    nbformat = pytest.importorskip("nbformat", reason="requirements-notebook.txt is not installed")
    nbclient = pytest.importorskip("nbclient", reason="requirements-notebook.txt is not installed")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": NOTEBOOK.parent}}).execute()
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    scores = {line.split()[0]: float(line.split("RMSE")[1].split()[0]) for line in text.splitlines() if "RMSE" in line}
    assert scores["base"] < scores["mean"]
    assert scores["v1"] < scores["mean"]


def test_notebook_is_committed_executed_and_without_errors():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]
