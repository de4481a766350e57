"""The tables of the Kaggle competition: found in a folder, read line by line through one or two layers of zip."""

import csv
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from data_prep.faceset import DataError

COMPETITION_ZIP = "facial-keypoints-detection.zip"
MAX_BYTES = 2**30  # of one zip member, four times the real training.csv; an archive may promise any size
MAX_LINE = 2**20  # characters; a row has some 35,000

# What zipfile and its decompressors raise on damaged, encrypted (RuntimeError) or unknown archives.
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError)


@dataclass(frozen=True)
class Table:
    """One of the competition's tables. name: of its file, `training.csv`; what: `training set`, for messages.

    accepted: the forms it may come in, for messages.
    """

    name: str
    what: str
    accepted: str

    @property
    def zip_name(self) -> str:
        """Of the zip that holds this table alone: `training.zip`."""
        return Path(self.name).with_suffix(".zip").name

    def find(self, path: Path) -> Path:
        """The file to read: `path`, or the one in this folder. Raises DataError where there is none."""
        if not path.exists():
            raise DataError(f"{path} does not exist; accepted: {self.accepted}")
        if path.is_dir():
            for name in (self.name, self.zip_name, COMPETITION_ZIP):
                if (path / name).is_file():
                    return path / name
            raise DataError(f"{path} holds no Kaggle {self.what}; accepted: {self.accepted}")
        if path.suffix.lower() not in (".csv", ".zip"):
            raise DataError(f"{path} is not a .csv or .zip file; accepted: {self.accepted}")
        return path

    @contextmanager
    def open(self, file: Path) -> Iterator[io.TextIOBase]:
        """The table as text, read through one or two layers of zip without unpacking to disk or memory."""
        if file.suffix.lower() == ".csv":
            with open(file, encoding="utf-8-sig", newline="") as text:
                yield text
            return
        with zipfile.ZipFile(file) as archive:
            if _member(archive, self.name) is None and _member(archive, self.zip_name) is not None:
                with (
                    self._open_member(archive, self.zip_name, file) as inner,
                    zipfile.ZipFile(inner) as nested,
                    self._open_member(nested, self.name, file) as raw,
                ):
                    yield io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
            else:
                with self._open_member(archive, self.name, file) as raw:
                    yield io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")

    def _open_member(self, archive: zipfile.ZipFile, name: str, file: Path) -> IO[bytes]:
        info = _member(archive, name)
        if info is None:
            found = archive.namelist()[:5]
            raise DataError(f"{file} holds neither {self.name} nor {self.zip_name}; it holds {found}")
        refuse_large(info, file)
        return archive.open(info)

    @contextmanager
    def readable(self, *files: Path) -> Iterator[None]:
        """Turn what stumbles over damaged files, or a table that is none, into a DataError of one line.

        files: the archive first, the table last; one file may be both.
        """
        try:
            yield
        except (*DAMAGED, OSError) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # the file cannot be opened; without a name it is zipfile or bz2 that stumbles inside it
            problem = f"{files[0]} is damaged, cut short or encrypted ({error})"
            raise DataError(f"{problem}; accepted: {self.accepted}") from error
        except (UnicodeDecodeError, csv.Error) as error:
            problem = f"{files[-1]} is not a table in UTF-8 text ({error})"
            raise DataError(f"{problem}; accepted: {self.accepted}") from error

    def columns(self, header: list[str], wanted: tuple[str, ...], file: Path) -> list[int]:
        """Positions of the wanted columns in the header."""
        if not header:
            raise DataError(f"{file} is empty; accepted: {self.accepted}")
        missing = [name for name in wanted if name not in header]
        if missing:
            more = ", ..." if len(missing) > 6 else ""
            raise DataError(f"{file} lacks {len(missing)} of {len(wanted)} columns: {', '.join(missing[:6])}{more}")
        if twice := [name for name in wanted if header.count(name) > 1]:
            raise DataError(f"{file} names the column {twice[0]} {header.count(twice[0])} times; once is accepted")
        return [header.index(name) for name in wanted]


def rows_of(text: io.TextIOBase) -> Iterator[list[str]]:
    """The cells of each line that is not blank."""
    return (row for _, row in numbered_rows(text))


def numbered_rows(text: io.TextIOBase) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line that is not blank, with its number from 1.

    csv.Error where a cell in quotes goes on in another line: a quote too many, which would swallow all up to the next.
    """
    csv.field_size_limit(MAX_LINE)  # the default limit is 131,072
    reader = csv.reader(_lines(text))
    for line, row in enumerate(reader, start=1):
        if reader.line_num != line:
            raise csv.Error(f"a quote in line {line} does not end there")
        if row:
            yield line, row


def cells_of(row: list[str], columns: list[int]) -> list[str]:
    """The cells in these columns; ValueError where the row is too short."""
    if len(row) <= max(columns):
        raise ValueError(f"has {len(row)} cells, expected at least {max(columns) + 1}")
    return [row[column] for column in columns]


def number_of(cell: str, column: str) -> int:
    """A whole number such as an ImageId; ValueError names the column and what was found instead."""
    if not (cell.isascii() and cell.isdecimal() and len(cell) <= 18):
        raise ValueError(f"{column} is {cell[:20]!r}, expected a whole number")
    return int(cell)


def coordinate_of(cell: str) -> float:
    """A decimal number; ValueError for what Python alone takes for one, such as 1_000."""
    if "_" in cell or not cell.isascii():
        raise ValueError(f"{cell[:20]!r} is no number")
    return float(cell)


def refuse_large(info: zipfile.ZipInfo, file: Path) -> None:
    """zipfile reads no more of a member than its declared size, so checking that size bounds the memory."""
    if info.file_size > MAX_BYTES:
        raise DataError(f"{file}: {info.filename} unpacks to {info.file_size:,} bytes, accepted: {MAX_BYTES:,}")


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo | None:
    """The member of that name, in whatever folder of the archive."""
    return next((info for info in archive.infolist() if Path(info.filename).name == name), None)


def _lines(text: io.TextIOBase) -> Iterator[str]:
    while line := text.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise csv.Error(f"a line has {MAX_LINE:,} characters or more")
        yield line
