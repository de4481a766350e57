"""Everything that `python -m evaluation` writes into one results folder: tables, pictures, records."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from data_prep.prepared import embedded
from data_prep.schema import KAGGLE15
from evaluation import entries as entry_forms
from evaluation import faces, hyperparameters, interval_plots, latency_plot, plots, summary, tables, worst
from evaluation.entries import Entry
from models.runs import Run, copy_record

PREPARED = Path("data/prepared")
DPI = 120
# Files that only some runs, or only the images, give; without them an older one would be of other runs.
FROM_IMAGES = ("sample_faces_*.png", "worst_faces_*.png", "faces/sample_faces_*.png", "faces/worst_faces_*.png")
FROM_RUNS = (
    *("by_source.csv", "comparisons.csv", "worst.csv", "worst_points_*.png", "hyperparameters.csv"),
    "accuracy_against_time.png",
)


def write_results(output: Path, runs: list[Run]) -> None:
    """Write tables, pictures and light records of runs of one data set into `output`, and print the table."""
    baseline = entry_forms.mean_face(runs)
    # Other baselines are runs; a further score is a column in `tables`.
    entries = [*map(entry_forms.from_run, runs), baseline]
    noise_floor = entry_forms.noise_floor(runs)
    rows = tables.performance(entries, noise_floor)
    place = {row["run"]: i for i, row in enumerate(rows)}
    entries.sort(key=lambda entry: place[entry.name])
    main = entry_forms.main_entries(entries, plots.MOST_PANELS)
    variants = summary.summary(entries)
    texts = {
        "performance.csv": rows,
        "summary.csv": variants,
        "comparisons.csv": summary.comparisons(entries),
        "per_keypoint.csv": tables.per_keypoint(entries),
        "by_source.csv": tables.by_source(entries),
        "worst.csv": worst.worst_rows(main),
        "hyperparameters.csv": hyperparameters.rows(entries),
    }
    texts = {name: table for name, table in texts.items() if table}
    figures = {
        "intervals.png": interval_plots.intervals(variants, noise_floor),
        "learning_curves.png": plots.learning_curves(entries),
        "error_per_keypoint.png": plots.error_per_keypoint(entries, noise_floor),
        "cumulative_error.png": plots.cumulative_errors(entries),
        "truth_against_prediction.png": plots.truth_against_prediction(entries),
        "mean_face_errors.png": plots.mean_face_errors(entries, baseline.test.predicted[0]),
        **{f"worst_points_{file_name(run)}.png": worst.worst_points(run) for run in main if not _own_faces(run)},
    }
    if baseline.schema is KAGGLE15 and all(run.config["image_size"] == [96, 96] for run in runs):
        against_time = latency_plot.accuracy_against_time(variants, latency_plot.one_thread_ms())
        figures |= {"accuracy_against_time.png": against_time} if against_time else {}
    pictures, why_not = _pictures_of_faces(runs, main, baseline)
    figures |= pictures

    writers: dict[str, Callable[[Path], object]] = {
        name: lambda path, rows=table: path.write_text(tables.to_csv(rows)) for name, table in texts.items()
    }
    for name, figure in figures.items():
        # Without the version of matplotlib, equal input gives equal files.
        writers[name] = lambda path, figure=figure: figure.savefig(path, dpi=DPI, metadata={"Software": None})
    stale = [
        path
        for pattern in (*FROM_RUNS, *(FROM_IMAGES if pictures else ()))
        for path in output.glob(pattern)
        if path.relative_to(output).as_posix() not in writers
    ]
    write_together(output, writers)
    for path in stale:
        path.unlink()
    for run in runs:
        copy_record(run, output / "runs" / run.name)

    faces_tested = f"{len(runs)} run(s) on {len(baseline.test.ids)} test faces"
    print(f"\n{baseline.data}: {faces_tested}{f' ({baseline.note})' if baseline.note else ''}\n")
    print(f"{tables.to_terminal(rows)}\n\n{summary.to_terminal(variants)}")
    if why_not:
        print(f"\nfaces not drawn: {why_not}")
    print(f"\nwritten to {output}/: {', '.join(writers)}, runs/ ({len(runs)} records)")


def _pictures_of_faces(runs: list[Run], main: list[Entry], baseline: Entry) -> tuple[dict[str, Figure], str]:
    """Pictures that need the images of the test faces, by file name; or none, and why."""
    folders = [
        PREPARED / baseline.data,
        *(Path(run.config["data_folder"]) for run in runs if "data_folder" in run.config),
    ]
    for prepared in dict.fromkeys(folders):
        images, why_not = faces.load_images(prepared, baseline.test.ids)
        if images is not None:
            break
    else:
        return {}, why_not
    figures = {}
    for run in main:
        folder = "" if faces.may_be_published(prepared, run) else "faces/"
        figures[f"{folder}sample_faces_{file_name(run)}.png"] = faces.sample_faces(run, images)
        figures[f"{folder}worst_faces_{file_name(run)}.png"] = worst.worst_faces(run, images)
    return figures, ""


def _own_faces(run: Entry) -> bool:
    """Whether the faces are sampled ones, as the record says: a clone without the images decides the same."""
    return embedded(run.config.get("data_source"))


def file_name(run: Entry) -> str:
    """A run's model as part of a file's name: `vgg_face (width 0.25)` becomes `vgg_face_width_0_25`."""
    return re.sub(r"[^\w-]+", "_", run.model).strip("_")


def write_together(output: Path, writers: dict[str, Callable[[Path], object]]) -> None:
    """Write files aside and move them into `output` when all are complete: a failure leaves the old ones."""
    aside = output.with_name(output.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        for name, write in writers.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            write(aside / name)
        for name in writers:
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside / name, output / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
