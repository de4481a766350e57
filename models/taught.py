"""taught: a network that learns from another's answers beside the labels (knowledge distillation).

Another way to meet missing points, to compare with the treatments of `data_prep.missing`. A network that was trained
before, the teacher, answers every training face, as the mean of the image and its mirror image. Two thirds of the
Kaggle rows label four points of fifteen; the teacher's answers stand in for the others (pseudo-labels, Lee 2013). Under
`taught` each label, too, is averaged with the teacher's answer, which has less noise than one person's or tracker's
click (Hinton, Vinyals & Dean 2015, arXiv 1503.02531), and `taught_by_several` is the same of a teacher that is the mean
of several networks (`models.ensemble`); under `taught_gaps` labels stay as they are. The answers move with the face
when it is augmented. The epoch to keep is chosen on true labels alone, as always.

    python -m models.taught --model dsnt --size small --teacher models/weights/dsnt-best --recipe best
        --data data/prepared/kaggle15-none

The teacher must have been trained on the same split: one that has seen validation or test faces is refused.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.prepared import Prepared, Split, load
from data_prep.schema import Schema
from data_prep.sources import sha256_of
from models import asymmetry, fitting, label_rules, run_output, trainer
from models.apply import load_network
from models.checkpoint import Checkpoint
from models.ensemble import MEAN_OF
from models.fitting import Fitted
from models.recipe import Recipe
from models.registry import Network
from models.runs import Run, read_run
from models.second_look import SecondLook

TREATMENTS = {
    "taught": "another network's answers, averaged with the label where there is one",
    "taught_gaps": "another network's answers where there is no label",
    "taught_by_several": "the mean answers of several networks (models/ensemble.py), averaged with the labels likewise",
}
SHARE = {"taught": 0.5, "taught_gaps": 0.0, "taught_by_several": 0.5}  # of the teacher in a labelled point


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--teacher", type=Path, metavar="RUN", help="run folder with a model.keras (required)")
    options.add_argument("--gaps", action="store_true", help="the teacher fills in missing points only")
    try:
        args = trainer.parse_with_model(
            "models.taught",
            "dsnt",
            argv,
            options,
            description="Train a network on labels and on another network's answers, and write its run folder.",
        )
        if args.teacher is None:
            raise DataError("--teacher is missing; a run folder with a model.keras is accepted")
        teacher = read_run(args.teacher)
        teaching = Teaching(teacher, treatment_of(teacher, args.gaps))
    except (DataError, OSError) as error:
        print(f"models.taught: error: {error}", file=sys.stderr)
        return 2
    return trainer.make_run("models.taught", args.model, args, load=teaching.load, fit=teaching.fit)


def treatment_of(teacher: Run, gaps: bool) -> str:
    """The name of what it does to the labels. gaps: it fills in missing points only.

    Raises DataError where several networks are to do that, which is no treatment of its own.
    """
    if MEAN_OF not in teacher.config.get("model", ""):
        return "taught_gaps" if gaps else "taught"
    if gaps:
        raise DataError(f"{teacher.folder} is the mean of several networks; --gaps is for one")
    return "taught_by_several"


@dataclass(frozen=True)
class Teaching:
    """A teacher, and how its answers and the labels are put together: a name in `TREATMENTS`."""

    teacher: Run
    treatment: str

    def load(self, folder: Path) -> Prepared:
        """A prepared data set, under this treatment.

        Raises DataError where its gaps are filled or its rows left out, or the teacher has seen its validation or test
        faces or answers with other points.
        """
        data, config = load(folder), self.teacher.config
        if (treatment := data.manifest["treatment"]) != "none":
            raise DataError(f"{folder} was prepared with --missing {treatment}; a teacher needs --missing none")
        trainer.check_not_seen(self.teacher, data)
        image_size = list(data.train.images.shape[1:])
        if (config["schema"], config["image_size"]) != (data.schema.name, image_size):
            raise DataError(
                f"{self.teacher.folder} was trained for {config['schema']} on {config['image_size']} pixels, "
                f"{folder} has {data.schema.name} and {image_size}"
            )
        return replace(data, manifest={**data.manifest, **self.about()})

    def about(self) -> dict:
        """What the manifest of data under this treatment says: which network teaches, by its hash."""
        network, config = self.teacher.folder / "model.keras", self.teacher.config
        about = {name: config.get(name) for name in ("run", "model", "commit", "command")}
        about["sha256"] = sha256_of([network]) if network.is_file() else None
        return {"treatment": self.treatment, "teacher": about}

    def fit(
        self, model: Network, train: Split, val: Split, schema: Schema, mean_face: np.ndarray, recipe: Recipe,
        seed: int, policy: str, tensorboard: Path | None = None, checkpoint: Checkpoint | None = None,
    ) -> Fitted:  # fmt: skip
        """`models.fitting.fit` on what the teacher makes of the labels of `train`.

        Where these have what their source has to one side, the teacher's answers get it too (`models.asymmetry`).
        """
        lean = {} if recipe.symmetric else asymmetry.of_config(self.teacher.config)
        train, *others = label_rules.lessons(recipe.label_rules, train, val, schema, mean_face)
        train = replace(train, filled=self.taught(train, lean))
        return fitting.fit(model, train, *others, recipe, seed, policy, tensorboard, checkpoint)

    def taught(self, train: Split, lean: dict[int, np.ndarray]) -> np.ndarray:
        """The labels of training faces with the teacher's answers: float32 [N, K, 2], of as many outputs as they have.

        lean: by source, what to add to the answers.
        A teacher of 15 points tells nothing of the two that another source puts elsewhere: these stay as they are.
        """
        network = SecondLook(load_network(self.teacher.folder / "model.keras"))
        outputs, sources = run_output.outputs(network, train.images), np.asarray(train.sources)
        if train.filled.shape[1] < outputs.shape[1]:
            outputs = label_rules.answers(outputs, sources)
        elif train.filled.shape[1] > outputs.shape[1]:
            outputs = label_rules.spread(outputs, sources)
        moves = asymmetry.moves(lean, sources, len(self.teacher.schema))
        if train.filled.shape[1] > moves.shape[1]:
            moves = np.nan_to_num(label_rules.spread(moves, sources))
        return put_together(train.filled, outputs + moves, SHARE[self.treatment])


def put_together(labels: np.ndarray, answers: np.ndarray, share: float) -> np.ndarray:
    """Labels [N, K, 2] to learn: the answer where there is none (NaN), else the mean, the answer weighing `share`."""
    mean = (1 - share) * labels + share * answers
    return np.where(np.isnan(labels), answers, mean).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
