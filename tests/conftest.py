"""Shared by several test files: a Kaggle table as text, and a small prepared data set."""

from collections.abc import Callable

import numpy as np
import pytest

from data_prep import __main__ as data_prep
from data_prep.schema import KAGGLE15


@pytest.fixture(scope="session")
def csv_text() -> Callable[..., str]:
    """`csv_text(keypoints, images, order)`: the table in the competition's format, columns in the order given."""

    def text(keypoints: np.ndarray, images: np.ndarray | None = None, order: list[str] | None = None) -> str:
        names = [*KAGGLE15.columns] if images is None else [*KAGGLE15.columns, "Image"]
        lines = [",".join(order or names)]
        for row, points in enumerate(keypoints):
            cells = ["" if np.isnan(value) else repr(float(value)) for value in points.ravel()]
            if images is not None:
                cells.append(" ".join(map(str, images[row].ravel())))
            values = dict(zip(names, cells, strict=True))
            lines.append(",".join(values[name] for name in order or names))
        return "\n".join(lines) + "\n"

    return text


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """80 embedded faces, split 64/8/8, gaps left open: the loss meets NaN."""
    folder = tmp_path_factory.mktemp("prepared") / "tiny"
    options = ("--source", "synthetic", "--count", "80", "--missing", "none", "--no-analysis")
    assert data_prep.main([*options, "--output", str(folder)]) == 0
    return folder
