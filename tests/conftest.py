"""Shared by the tests of data_prep: a Kaggle table as text."""

from collections.abc import Callable

import numpy as np
import pytest

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
