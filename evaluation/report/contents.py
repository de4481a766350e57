"""What stands on the page, read from one results folder. Nothing is computed: figures are those of the tables."""

from pathlib import Path

from data_prep import more_labels
from data_prep.faceset import DataError
from data_prep.missing import TREATMENTS
from evaluation.report import pictures, records, sections, sentences, tables
from evaluation.report.pictures import Picture
from evaluation.report.tables import Row, words
from models import specialist, taught

NOISE = "label_noise"
DESCRIPTIONS = {
    **TREATMENTS,
    more_labels.TREATMENT: more_labels.DESCRIPTION,
    specialist.TREATMENT: specialist.DESCRIPTION,
    **taught.TREATMENTS,
}
CLUSTERS = "../grouping/clusters.csv"  # how relatives among the faces were found
PICTURES_OF_GROUPING = ("../grouping/precision_recall.png", "../grouping/clusters.png")


def read(folder: Path, full: bool) -> dict[str, object]:
    """Everything the template draws. Raises DataError where performance.csv is missing or any file is damaged."""
    if not (folder / "performance.csv").is_file():
        raise DataError(f"{folder} has no performance.csv; python -m evaluation --output {folder} makes it")
    performance = tables.read_csv(folder / "performance.csv")
    for column in ("run", "model", "rmse_px"):
        tables.field("performance.csv", performance[0], column)
    noise = next((row for row in performance if row["model"] == NOISE), None)
    runs = [row for row in performance if row is not noise]
    if not runs:
        raise DataError(f"{folder}/performance.csv is damaged: it has no runs")
    summary, comparisons, by_source, per_keypoint, worst = (
        tables.read_if_any(folder / f"{name}.csv")
        for name in ("summary", "comparisons", "by_source", "per_keypoint", "worst")
    )
    configs = records.read(folder)
    own_faces = records.own_faces(configs)
    name = folder.resolve().name
    relatives = f"../leakage/{name}/leakage.csv"
    leakage = tables.read_if_any(folder / relatives)
    grouping = [] if own_faces else [r for r in tables.read_if_any(folder / CLUSTERS) if r.get("data") == name]
    note = next((row["data_note"] for row in runs if row.get("data_note")), "")
    names = {row.get(column) for row in runs for column in ("data", "trained_on")}
    return {
        "name": name,
        "full": full,
        "up": "../" if full else "",  # from the page to the results folder
        "own_faces": own_faces,
        "note": note,
        "facts": _facts(runs, configs),
        "findings": sentences.findings(summary or runs, runs),
        "summary": sections.summary(summary),
        "runs": sections.runs(runs),
        "comparisons": sentences.comparisons(comparisons),
        "by_source": sections.by_source(by_source),
        "per_keypoint": sections.per_keypoint(per_keypoint, runs),
        "worst": sections.worst(worst),
        "leakage": sections.leakage(relatives, leakage),
        "grouping": sections.grouping(CLUSTERS, grouping),
        "noise": noise and sentences.noise(noise, note),
        "data": sections.data(folder),
        "environment": records.environment(configs),
        "commands": [
            *records.commands(folder, name, _distinct("command", runs), configs),
            *_distinct("command", leakage),
            *_distinct("command", grouping),
        ],
        "limits": sentences.limits(folder / "../README.md", names),
        "pictures": [
            *pictures.gather(folder, own_faces, full),
            *_pictures(folder, f"../leakage/{name}/leakage.png"),
            *(_pictures(folder, *PICTURES_OF_GROUPING) if grouping else []),
        ],
    }


def _facts(runs: list[Row], configs: list[dict]) -> dict[str, list[str]]:
    """What was compared, heading -> lines."""
    file = "performance.csv"
    trained = [row for row in runs if row.get("recipe")]
    recipes = records.recipes(configs)
    counts = {tables.cell(file, row, "points_scored", 0) for row in runs} - {""}
    facts = {
        "Data": _distinct("data", runs),
        "Faces": [f"training/validation/test {split}" for split in _distinct("split", runs)],
        "Scored": [f"{n} test faces" for n in _distinct("faces", runs)]
        + [f"{n} labelled points" for n in sorted(counts)],
        "Networks": [", ".join(_distinct("model", trained))],
        "Recipes": [recipes.get(recipe, recipe) for recipe in _distinct("recipe", trained)],
        "Missing points": [f"{t}: {DESCRIPTIONS.get(t, '')}".rstrip(": ") for t in _distinct("treatment", trained)],
        "Trained on": _distinct("trained_on", trained),
        "Seeds": [", ".join(sorted(_distinct("seed", trained), key=lambda seed: (len(seed), seed)))],
        "Baselines": [", ".join(words(m) for m in _distinct("model", [r for r in runs if r not in trained]))],
    }
    return {heading: [line for line in lines if line] for heading, lines in facts.items() if any(lines)}


def _distinct(column: str, rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row[column] for row in rows if row.get(column)))


def _pictures(folder: Path, *files: str) -> list[Picture]:
    """Those of other results folders that are there."""
    return [pictures.picture(folder / file, file) for file in files if (folder / file).is_file()]
