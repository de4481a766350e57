"""Set a data set's two splits side by side: as published, where test persons are also in training, and by person.

    python -m evaluation.splits results/youtube68 results/youtube68-published

Reads the records in both folders and writes splits.csv into the first: a row per variant that stands in both.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from evaluation import collect, entries, metrics, tables, uncertainty
from evaluation.entries import Entry, by_label
from evaluation.hyperparameters import split_of
from evaluation.tables import Row

PUBLISHED = "published"
CAVEAT = "the two test sets are different faces"
# Where the same comparison was made on equal faces: data set, image size, what to read.
ON_THE_SAME = ("youtube68", [96, 96], "results/leakage/youtube68 compares v1 on the same")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.splits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("by_person", type=Path, metavar="results/NAME", help="split by person; splits.csv goes here")
    parser.add_argument("published", type=Path, metavar="results/NAME-published", help="split as published")
    args = parser.parse_args(argv)
    try:
        rows = side_by_side(read(args.by_person, False), read(args.published, True))
        from evaluation.output import write_together

        write_together(args.by_person, {"splits.csv": lambda path: path.write_text(tables.to_csv(rows))})
    except (DataError, OSError) as error:
        print("evaluation.splits: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluation.splits: stopped", file=sys.stderr)
        return 130
    for row in rows:
        print(
            f"{row['variant']}: published {row['published_rmse_px']:.2f} px, by person {row['person_rmse_px']:.2f} px, "
            f"difference {row['difference_px']:.2f} px ({row['low_px']:.2f} to {row['high_px']:.2f})"
        )
    print(f"written to {args.by_person / 'splits.csv'}; {rows[0]['note']}")
    return 0


def read(folder: Path, published: bool) -> list[Entry]:
    """The entries of a results folder, with its mean face.

    Raises DataError where it has no runs, or runs that cannot be read or are of the other split.
    """
    runs, skipped = collect.find_below(folder / "runs")
    if skipped or not runs:
        problem = "; ".join(skipped) or "no records in its runs/; make its table first with python -m evaluation"
        raise DataError(f"{folder}: {problem}")
    collect.check_one_table(runs)
    found = [*map(entries.from_run, runs), entries.mean_face(runs)]
    for entry in found:
        if entry.config and (split_of(entry) == PUBLISHED) != published:
            wanted = "split as published" if published else "split by person"
            raise DataError(f"{folder}: {entry.name} is {split_of(entry)}; runs {wanted} are accepted")
    return found


def side_by_side(by_person: list[Entry], published: list[Entry]) -> list[Row]:
    """A row per variant in both, best by person first.

    Raises DataError where there is none, and where the runs are not all of one data source, schema and image size.
    """
    check_one_source([*by_person, *published])
    ours, theirs = by_label(by_person), by_label(published)
    common = [label for label in ours if label in theirs]
    if not common:
        raise DataError(f"no variant is in both: {', '.join(ours)} by person, {', '.join(theirs)} as published")
    note = _note(by_person)
    rows = [_row(label, ours[label], theirs[label]) | {"note": note} for label in common]
    return sorted(rows, key=lambda row: row["person_rmse_px"])


def check_one_source(found: list[Entry]) -> None:
    """Raise DataError, naming two runs, unless all were made of one file with one schema and size of image."""
    runs = {f"{entry.data}/{entry.name}": _made_of(entry) for entry in found if entry.config}
    first, expected = next(iter(runs.items()))
    for name, made_of in runs.items():
        for what, value in made_of.items():
            if value != expected[what] or value is None:
                raise DataError(f"{name} has {what} {value}, {first} {expected[what]}; runs of one file are accepted")


def _made_of(entry: Entry) -> dict[str, object]:
    return {
        "schema": entry.schema.name,
        "image size": entry.config["image_size"],
        "data source": (entry.config.get("data_source") or {}).get("sha256"),
    }


def _note(found: list[Entry]) -> str:
    data, size, hint = ON_THE_SAME
    there = any(entry.data == data and entry.config.get("image_size") == size for entry in found)
    return f"{CAVEAT}; {hint}" if there else CAVEAT


def _row(label: str, by_person: list[Entry], published: list[Entry]) -> Row:
    """Squared errors are averaged over seeds; seeds that only one of them has are left out."""
    seeds = {e.config.get("seed") for e in by_person} & {e.config.get("seed") for e in published}
    row: Row = {"variant": label, "seeds": None if by_person[0].is_baseline else len(seeds)}
    scored = []
    for name, runs in (("published", published), ("person", by_person)):
        kept = [entry for entry in runs if entry.config.get("seed") in seeds]
        if not kept:
            raise DataError(f"{label}: the two splits have no seed in common")
        squared, count = uncertainty.per_group(np.stack([e.test.errors for e in kept]), kept[0].test.groups)
        low, high = uncertainty.rmse_interval(squared, count)
        scored.append((squared, count))
        row |= {
            f"{name}_faces": len(kept[0].test.ids),
            f"{name}_persons": len(count),
            f"{name}_rmse_px": float(np.sqrt(np.mean(uncertainty.rmse(squared, count) ** 2))),
            f"{name}_low_px": low,
            f"{name}_high_px": high,
            f"{name}_nme_pct": float(np.mean([metrics.nme_pct(_face_nme(e)) for e in kept])),
        }
    low, high = uncertainty.difference_interval(*scored)
    difference = row["published_rmse_px"] - row["person_rmse_px"]
    return row | {"difference_px": difference, "low_px": low, "high_px": high}


def _face_nme(entry: Entry) -> np.ndarray:
    return metrics.face_nme_pct(entry.test.errors, entry.eye_distance)


if __name__ == "__main__":
    sys.exit(main())
