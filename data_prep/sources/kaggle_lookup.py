"""Read IdLookupTable.csv of the Kaggle competition: which coordinate of which test image each row asks for."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.schema import KAGGLE15
from data_prep.sources.kaggle_table import Table, cells_of, number_of, rows_of

COLUMNS = ("RowId", "ImageId", "FeatureName")
LOOKUP = Table(
    "IdLookupTable.csv", "lookup table", "IdLookupTable.csv, the competition's zip, or a folder with one of them"
)


@dataclass(frozen=True)
class Lookup:
    """R rows, in the file's order.

    row_ids, image_ids: int64 [R].
    coordinates: int64 [R], position in `KAGGLE15.columns`: x and y of point k are 2k and 2k + 1.
    """

    row_ids: np.ndarray
    image_ids: np.ndarray
    coordinates: np.ndarray

    def __len__(self) -> int:
        return len(self.row_ids)


def read_lookup(path: Path) -> Lookup:
    """Read the lookup table from its csv, the competition's zip, or a folder; `Location` is not looked at.

    Raises DataError for a missing column, an id that is not a whole number, a RowId that stands twice, an unknown
    FeatureName, a damaged zip, a file without rows.
    """
    file = LOOKUP.find(Path(path))
    with LOOKUP.readable(file), LOOKUP.open(file) as text:
        return _read(text, file)


def _read(text: io.TextIOBase, file: Path) -> Lookup:
    rows = rows_of(text)
    columns = LOOKUP.columns(next(rows, []), COLUMNS, file)
    position = {name: i for i, name in enumerate(KAGGLE15.columns)}
    found: dict[int, tuple[int, int]] = {}
    for number, row in enumerate(rows):
        try:
            row_id, image_id, feature = cells_of(row, columns)
            row_id, image_id = number_of(row_id, "RowId"), number_of(image_id, "ImageId")
            if feature not in position:
                raise ValueError(f"FeatureName {feature[:40]!r} is unknown, expected {KAGGLE15.columns[0]} or alike")
            if row_id in found:
                raise ValueError(f"RowId {row_id} stands twice")
        except ValueError as error:
            raise DataError(f"{file}, row {number} (0-based): {error}") from None
        found[row_id] = (image_id, position[feature])
    if not found:
        raise DataError(f"{file} has no rows")
    image_ids, coordinates = np.array(list(found.values()), dtype=np.int64).T
    return Lookup(np.array(list(found), dtype=np.int64), image_ids, coordinates)
