"""What a step's values may be, checked when the step is made. Both raise DataError naming what is accepted."""

from data_prep.faceset import DataError


def check_number(step: object, name: str, least: float, most: float) -> None:
    """One value of a step, which is a number from `least` to `most`."""
    if not least <= getattr(step, name) <= most:  # NaN is nowhere between
        raise DataError(f"{step}: {name} is {getattr(step, name)}; accepted: {least} to {most}")


def check_range(step: object, least: float, most: float) -> None:
    """The values `low` and `high` of a step."""
    for name in ("low", "high"):
        check_number(step, name, least, most)
    if step.low > step.high:
        raise DataError(f"{step}: low is {step.low}, high is {step.high}; accepted: the lower one first")
