"""Check the fields of a study file. A check takes a value and returns it, or raises DataError with what it accepts."""

import math
from collections.abc import Callable, Collection

from data_prep.faceset import DataError
from models.trainer import MOST_SEEDS

Check = Callable[[object], object]


def checked(where: str, table: object, required: dict[str, Check], optional: dict[str, Check] | None = None) -> dict:
    """All fields of a table by name; an optional one that is absent is None.

    Raises DataError naming `where` and the field: unknown, absent or of another kind than its check accepts.
    """
    checks = {**required, **(optional or {})}
    if not isinstance(table, dict):
        raise DataError(f"{where} is {table!r}; a table is accepted")
    for name in table:
        if name not in checks:
            raise DataError(f"{where}: unknown field {name!r}; accepted: {', '.join(checks)}")
    for name in required:
        if name not in table:
            raise DataError(f"{where}: {name} is missing")
    values = dict.fromkeys(checks)
    for name, value in table.items():
        try:
            values[name] = checks[name](value)
        except DataError as error:
            raise DataError(f"{where}: {name} {error}") from error
    return values


def text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise DataError(f"is {value!r}; text is accepted")
    return value


def count(value: object) -> int:
    if type(value) is not int or value < 1:  # bool is an int too
        raise DataError(f"is {value!r}; a whole number from 1 is accepted")
    return value


def seed(value: object) -> int:
    if type(value) is not int or not 0 <= value < MOST_SEEDS:
        raise DataError(f"holds {value!r}; whole numbers from 0 to {MOST_SEEDS - 1} are accepted")
    return value


def rate(value: object) -> float:
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise DataError(f"is {value!r}; a number above 0 is accepted")
    return float(value)


def weight(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise DataError(f"is {value!r}; 0 or more is accepted")
    return float(value)


def yes_or_no(value: object) -> bool:
    if not isinstance(value, bool):
        raise DataError(f"is {value!r}; true or false is accepted")
    return value


def table(value: object) -> dict:
    if not isinstance(value, dict):
        raise DataError(f"is {value!r}; a table is accepted")
    return value


def one_of(names: Collection[str]) -> Check:
    def check(value):
        if not isinstance(value, str) or value not in names:
            raise DataError(f"{value!r} is unknown; accepted: {', '.join(names)}")
        return value

    return check


def list_of(each: Check) -> Check:
    """A list with something in it, as a tuple."""

    def check(values):
        if not isinstance(values, list) or not values:
            raise DataError(f"is {values!r}; a list with at least one entry is accepted")
        return tuple(each(value) for value in values)

    return check
