"""How well `data_prep.relatives` finds faces of one clip or person, on faces whose clip and person are known.

    python -m evaluation.grouping --youtube68 ../shared/data/youtube68 --kaggle ../shared/data/kaggle15/training.zip

youtube68 has person and clip in its file names (PERSON_CF.jpg: C the clip, F the frame); the rows of kaggle15 that show
one of its frames have them from there. Figures are for persons that the linear map was not fitted on, unless they say
"as shipped". Writes tables and pictures to results/grouping/; what they hold is in results/README.md. Two minutes of
processor time, 2 GB of memory.
"""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from data_prep.faceset import DataError

RESULTS = Path("results/grouping")


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        study(args)
    except (DataError, OSError) as error:
        print("evaluation.grouping: error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluation.grouping: stopped", file=sys.stderr)
        return 130
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.grouping", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--youtube68", type=Path, required=True, metavar="PATH", help="folder or zip with the frames")
    parser.add_argument("--kaggle", type=Path, metavar="PATH", help="training.zip of kaggle15 (default: leave it out)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="default: %(default)s")
    args = parser.parse_args(argv)
    args.command = shlex.join(["python", "-m", "evaluation.grouping", *(sys.argv[1:] if argv is None else argv)])
    return args


def study(args: argparse.Namespace) -> None:
    """Measure on youtube68, on kaggle15 where given, and write the results."""
    # Imported here: SciPy, OpenCV and matplotlib cost seconds, which --help should not.
    from data_prep.sources import kaggle
    from evaluation import grouping_clusters as clusters
    from evaluation import grouping_curves as curves
    from evaluation import grouping_plots, grouping_truth, tables
    from evaluation.output import DPI, write_together
    from models.provenance import commit

    frames = grouping_truth.read_frames(args.youtube68)
    source = kaggle.read(args.kaggle) if args.kaggle else None
    sets = [grouping_truth.youtube68(args.youtube68, frames)]
    sets += [grouping_truth.kaggle(source, frames)] if source else []
    embeddings = curves.embeddings(sets[0])
    found, cluster_rows, texts = {}, [], {}
    ends = {"commit": commit(), "command": args.command}
    for known in sets:
        found[known.name] = {
            method: curves.curve(curves.held_out_pairs(known, by_fold)) for method, by_fold in embeddings.items()
        }
        texts[f"curve_{known.name}.csv"] = [
            {"data": known.name, "method": method, **row, **ends, "data_note": known.note}
            for method, curve in found[known.name].items()
            for row in curves.rows(curve)
        ]
        rows = clusters.table(known, embeddings[curves.MAP])
        cluster_rows += [{"data": known.name, **row, **ends, "data_note": known.note} for row in rows]
    texts["clusters.csv"] = cluster_rows

    writers: dict[str, Callable[[Path], object]] = {
        name: lambda path, rows=rows: path.write_text(tables.to_csv(rows)) for name, rows in texts.items()
    }
    figures = {
        "precision_recall.png": grouping_plots.precision_recall(found, cluster_rows),
        "clusters.png": grouping_plots.clusters(cluster_rows),
    }
    for name, figure in figures.items():
        writers[name] = lambda path, figure=figure: figure.savefig(path, dpi=DPI, metadata={"Software": None})
    write_together(args.output, writers)
    if source is None:
        (args.output / "curve_kaggle15.csv").unlink(missing_ok=True)  # clusters.csv speaks of it no longer
    for line in in_words(found, cluster_rows):
        print(line)
    print(f"written to {args.output}/: {', '.join(writers)}")


def in_words(found: dict, rows: list[dict]) -> list[str]:
    """What the study found, in a few lines for the terminal."""
    from evaluation import grouping_clusters as clusters
    from evaluation import grouping_curves as curves
    from evaluation.grouping_plots import LARGEST_GOAL, LEAK_GOAL_PCT

    lines = []
    for name, by_method in found.items():
        for method, curve in by_method.items():
            at = curves.at_precision(curve, curves.AIM_PRECISION)
            recall = 0.0 if at is None else curve.recall_clip[at]
            aim = f"aim {curves.AIM_RECALL:.2f} {'reached' if recall >= curves.AIM_RECALL else 'missed'}"
            lines.append(f"{name}, {method}: recall {recall:.2f} at {curves.AIM_PRECISION:.0%} precision ({aim})")
        for row in rows:
            if row["data"] == name and (row["default"] or row["what"] == clusters.EQUAL):
                share, largest = row["clip_in_train_pct"], row["largest_group_max"]
                goals = f"goal {LEAK_GOAL_PCT} % {'met' if share < LEAK_GOAL_PCT else 'missed'}"
                within = f"{'within' if largest <= LARGEST_GOAL else 'above'} {LARGEST_GOAL}"
                lines.append(
                    f"{name}, {row['what']}: {share:.1f} % of the known test faces have their clip in train ({goals}); "
                    f"largest group {largest} ({within})"
                )
                if row["grouping_seconds"] is not None:
                    lines.append(
                        f"{name}: {row['faces']:,} faces grouped in {row['grouping_seconds']:.0f} s "
                        f"({row['grouping_cpu_seconds']:.0f} s of processor time; load {row['load']})"
                    )
    return lines


if __name__ == "__main__":
    sys.exit(main())
