"""What stands in a table: a trained network or a baseline, in one form and one frame.

Tables and plots see entries only. A baseline is a run like any other (`models/ridge.py`), or the mean face, which is
made here from what every run holds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from data_prep.schema import Schema
from data_prep.sources import known
from evaluation import metrics
from models.runs import Predictions, Run

MEAN_FACE = "mean_face"


@dataclass(frozen=True)
class Scored:
    """N faces of one split, in pixels at 96x96, whatever the size of the images.

    ids, groups, sources: [N], as in `data_prep.faceset.FaceSet`.
    predicted, truth: float64 [N, K, 2]; truth is NaN where unlabelled.
    errors: float64 [N, K, 2], predicted minus truth; NaN where unlabelled.
    filled_errors: the same with filled values taken for truth; None where the treatment filled nothing.
    """

    ids: np.ndarray
    groups: np.ndarray
    sources: np.ndarray
    predicted: np.ndarray
    truth: np.ndarray
    errors: np.ndarray
    filled_errors: np.ndarray | None = None


@dataclass(frozen=True)
class Entry:
    """One row of the table. A baseline has no epochs: its `history` is None. The mean face has no run: no `config`."""

    name: str
    model: str
    data: str
    schema: Schema
    val: Scored
    test: Scored
    note: str = ""  # what a reader must know about the data, see data_prep.sources.known
    config: dict = field(default_factory=dict)
    history: dict[str, list[float]] | None = None

    @property
    def eye_distance(self) -> np.ndarray:
        """float64 [N], between the eyes of the test faces' true labels, in pixels at 96x96; NaN where unlabelled."""
        return self.schema.eye_distance(self.test.truth)

    @property
    def is_baseline(self) -> bool:
        return self.history is None

    @property
    def reuses_runs(self) -> bool:
        """Whether it answers with networks of other runs of the table (`models.apply`, `models.ensemble`)."""
        return "trained_with" in self.config and self.config.get("trained_on") == self.data

    @property
    def recipe(self) -> str:
        return "" if self.is_baseline else self.config["recipe"]["name"]

    @property
    def variant(self) -> str:
        """What distinguishes runs of one model apart from the seed: `quick, ffill`; `ffill` for a baseline."""
        trained_on = self.config.get("trained_on", self.data)
        elsewhere = "" if trained_on == self.data else f"from {trained_on}"
        return ", ".join(filter(None, [self.recipe, self.config.get("treatment"), elsewhere]))

    @property
    def label(self) -> str:
        """For legends: `v1 (quick, ffill)`, `nearest neighbour (ffill)`; seeds share one label."""
        model = self.model.replace("_", " ") if self.is_baseline else self.model
        return f"{model} ({self.variant})" if self.variant else model


def from_run(run: Run) -> Entry:
    """A finished run as an entry."""
    size = run.config["image_size"]
    return Entry(
        name=run.name,
        model=run.config["model"],
        data=run.config["data"],
        schema=run.schema,
        val=_scored(run.val, size),
        test=_scored(run.test, size),
        note=_note(run),
        config=run.config,
        history=None if run.config.get("baseline") else run.history,
    )


def mean_face(runs: list[Run]) -> Entry:
    """The baseline that predicts the mean of the training labels for every face, scored on the same points.

    It is taken from the run with the most training faces, for `drop` also thins the validation faces; of those from
    the one whose record rounds least, for its labels are predicted minus error (`models.runs`).
    """
    run = min(_trained_here(runs) or runs, key=lambda r: (-(r.config.get("train_faces") or 0), r.test.step, r.name))
    size = run.config["image_size"]
    points = _to_reference(np.array(run.config["mean_face"], dtype=np.float64), size)

    def scored(predictions: Predictions) -> Scored:
        truth = _to_reference(predictions.truth, size)
        predicted = np.broadcast_to(points, truth.shape).copy()
        # A point that no training face carries has no mean: it cannot be predicted, so it is not scored.
        errors = metrics.keypoint_errors(np.nan_to_num(predicted), np.where(np.isnan(predicted), np.nan, truth))
        return Scored(predictions.ids, predictions.groups, predictions.sources, predicted, truth, errors)

    return Entry(
        name=MEAN_FACE,
        model=MEAN_FACE,
        data=run.config["data"],
        schema=run.schema,
        val=scored(run.val),
        test=scored(run.test),
        note=_note(run),
    )


def noise_floor(runs: list[Run]) -> dict | None:
    """The RMSE that a perfect network would still show, since labels of twice labelled images disagree.

    `{"rmse_px": in pixels at 96x96, "pairs": twice labelled images, "simulated": whether the disagreement was
    added}`, as the runs' data set states it; None where no run trained on it does. Should they differ, the one from
    the most pairs.
    """
    floors = [floor for run in _trained_here(runs) if (floor := run.config.get("noise_floor"))]
    return max(floors, key=lambda floor: (floor["pairs"], floor["rmse_px"]), default=None)


def by_validation(entries: Iterable[Entry]) -> list[Entry]:
    """Best first, by RMSE on the validation faces that all of these have; equal ones by name.

    `drop` leaves out the faces with a gap, which tend to be of another kind, so a run's own score does not compare
    with another treatment's. An entry without validation faces comes last, and takes no face from the others.
    """
    entries = list(entries)
    with_faces = [entry.val.ids for entry in entries if len(entry.val.ids)]
    common = reduce(np.intersect1d, with_faces) if with_faces else []

    def rank(entry: Entry) -> tuple[float, str]:
        rmse = metrics.rmse_px(entry.val.errors[np.isin(entry.val.ids, common)])
        return (np.inf if np.isnan(rmse) else rmse, entry.name)

    return sorted(entries, key=rank)


def by_label(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Runs that differ in the seed only, under their common label; the best by validation first."""
    groups: dict[str, list[Entry]] = {}
    for entry in by_validation(entries):
        groups.setdefault(entry.label, []).append(entry)
    return groups


def main_entries(entries: Iterable[Entry], limit: int) -> list[Entry]:
    """The best run of each model, at most `limit` of them, for plots that show single runs; no second looks nor means.

    Chosen by validation, never by test: a picture of the luckiest test score would be a picture of luck.
    """
    best: dict[str, Entry] = {}
    for entry in by_validation(e for e in entries if not (e.is_baseline or e.reuses_runs)):
        best.setdefault(entry.model, entry)
    return list(best.values())[:limit]


def _trained_here(runs: list[Run]) -> list[Run]:
    """The runs trained on the data set that they are tested on; what the others say of their data is of another."""
    return [run for run in runs if run.config.get("trained_on", run.config["data"]) == run.config["data"]]


def _note(run: Run) -> str:
    return known.note((run.config.get("data_source") or {}).get("sha256", "")) or ""


def _scored(predictions: Predictions, size: list[int]) -> Scored:
    errors = metrics.scaled_to_reference(predictions.error, size)
    labelled = predictions.observed[..., None]
    filled = bool((~np.isnan(errors).any(axis=-1) & ~predictions.observed).any())
    return Scored(
        ids=predictions.ids,
        groups=predictions.groups,
        sources=predictions.sources,
        predicted=_to_reference(predictions.predicted, size),
        truth=_to_reference(predictions.truth, size),
        # The stored errors, not predicted minus truth: they are the finer of the float16 values.
        errors=np.where(labelled, errors, np.nan),
        filled_errors=errors if filled else None,
    )


def _to_reference(points: np.ndarray, size: list[int]) -> np.ndarray:
    """Positions [..., 2] in images of `size` to 96x96; (0, 0) is a pixel's centre, hence the half pixels."""
    return metrics.scaled_to_reference(points + 0.5, size) - 0.5
