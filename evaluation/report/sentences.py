"""The results in words, made from the tables without computing anything, and the words of results/README.md."""

import re
from pathlib import Path

from markupsafe import Markup, escape

from evaluation.report import tables
from evaluation.report.tables import Row, decimal, number, words

DATA_SETS = ("kaggle15", "youtube68", "synthetic")
DIFFERS_IN = {
    "model": "Networks",
    "recipe": "Recipes",
    "treatment": "Treatments of missing points",
    "trained_on": "Training data",
    "baseline": "Networks and the best baseline",
}


def findings(rows: list[Row], runs: list[Row]) -> list[str]:
    """The result in a few sentences. The network shown is chosen by validation, as everywhere in the study."""
    file = "performance.csv" if rows is runs else "summary.csv"
    label = "run" if rows is runs else "variant"
    lines = []
    trained = [row for row in rows if row.get("recipe")]
    scored = [(score, row) for row in trained if (score := number(file, row, "val_rmse_px")) is not None]
    if scored:
        best = min(scored, key=lambda pair: pair[0])[1]
        lines.append(f"Best by validation: {_score(file, best, label)}.")
    baselines = [_score(file, row, label) for row in rows if not row.get("recipe")]
    if baselines:
        lines.append(f"For scale: {'; '.join(baselines)}.")
    flagged = [f"{row['run']} ({row['flag']})" for row in runs if row.get("flag")]
    return [*lines, *([f"Flagged: {'; '.join(flagged)}."] if flagged else [])]


def _score(file: str, row: Row, label: str) -> str:
    text = f"{words(tables.field(file, row, label))}, RMSE {tables.cell(file, row, 'rmse_px', 2)} px"
    if row.get("rmse_low_px"):
        text += f" (95 % interval {tables.interval(file, row, 'rmse_low_px', 'rmse_high_px')})"
    return text


def comparisons(rows: list[Row]) -> dict[str, list[tuple[bool, str, str]]]:
    """What comparisons.csv shows, in words: heading -> (whether a difference is shown, verdict, figures)."""
    file = "comparisons.csv"
    found: dict[str, list[tuple[bool, str, str]]] = {}
    for row in rows:
        a, b, verdict, differs_in = (tables.field(file, row, name) for name in ("a", "b", "verdict", "differs_in"))
        values = [number(file, row, name) for name in ("difference_px", "low_px", "high_px", "p_holm")]
        chance = number(file, row, "probability_of_improvement") if "probability_of_improvement" in row else None
        difference, low, high, p = values
        if verdict == "b better":
            a, b, chance = b, a, None if chance is None else 1 - chance
        elif verdict == "a better" and None not in values:
            difference, low, high = -difference, -high, -low
        shown = verdict in ("a better", "b better")
        text = f"{a} is better than {b}" if shown else f"No difference shown between {a} and {b}"
        figures = []
        if None not in values:
            p_text = tables.cell(file, row, "p_holm", 3)
            figures.append(f"{decimal(difference, 2)} px ({decimal(low, 2)} to {decimal(high, 2)})")
            figures.append(f"p {p_text}" if p < 0.001 else f"p = {p_text}")
        if chance is not None:
            figures.append(f"the first nearer in {decimal(100 * chance, 0)} % of groups")
        figures += [row["note"]] if row.get("note") else []
        heading = DIFFERS_IN.get(differs_in, words(differs_in))
        found.setdefault(heading, []).append((shown, text, ", ".join(figures)))
    return found


def noise(row: Row, note: str) -> str:
    """The noise floor and what is said of it, without the note on the data that already stands above."""
    said = row.get("data_note", "").removeprefix(note).strip("; ")
    remarks = "; ".join(filter(None, [said, row.get("flag", "")]))
    text = f"{tables.cell('performance.csv', row, 'rmse_px', 2)} px RMSE"
    return f"{text} ({remarks})" if remarks else text


def limits(path: Path, ours: set[str | None]) -> list[Markup]:
    """What the figures cannot show: that section of results/README.md, without what is of other data sets alone."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    section = re.search(r"^## What these numbers cannot show\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S)
    points = re.findall(r"^- (.*?)(?=^- |\Z)", section[1], flags=re.M | re.S) if section else []
    kept = []
    for point in points:
        named = {data for data in DATA_SETS if data in point}
        if not named or named & ours:
            kept.append(_markdown(" ".join(point.split())))
    return kept


def _markdown(text: str) -> Markup:
    """Bold, italics and code of a line of Markdown; links become their text."""
    html = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", str(escape(text)))
    for mark, tag in ((r"`", "code"), (r"\*\*", "strong"), (r"\*", "em")):
        html = re.sub(rf"{mark}(.+?){mark}", rf"<{tag}>\1</{tag}>", html)
    return Markup(html)
