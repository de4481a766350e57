"""Training recipes: everything that shapes a training besides the network, the data and the seed."""

import math
from dataclasses import asdict, dataclass, replace

from data_prep.augment import PIPELINES, Pipeline
from data_prep.faceset import DataError
from data_prep.schema import Schema
from models.label_rules import LABEL_RULES


@dataclass(frozen=True)
class Recipe:
    """One way to train. Saved with every run; a new recipe is an entry in `RECIPES`."""

    name: str
    epochs: int  # at most; early stopping may end sooner
    batch_size: int
    learning_rate: float  # of Adam; the peak where a schedule is named
    loss: str = "mse"  # over labelled coordinates; or "smooth_l1", see models/losses.py
    schedule: str = "constant"  # or "cosine": linear warm-up over 5 % of the steps, then down to zero
    patience: int | None = None  # epochs without a better validation loss before stopping; None: never
    min_delta: float = 0.0  # px^2 that count as better
    restore_best: bool = True  # end with the weights of the best validation epoch
    # Of the epochs, the first ones in which only what follows a pre-trained backbone learns, at a rate of its own.
    head_epochs: int | None = None
    head_learning_rate: float | None = None
    augmentation: str = "none"  # of training faces, a name in `data_prep.augment.PIPELINES`
    weight_decay: float | None = None  # per step and unit of learning rate, of kernels alone: Adam becomes AdamW
    label_rules: str = "one"  # or "by_source": outputs of their own where two sources label by different rules
    optimizer: str = "adam"  # or "muon", see models/muon.py
    symmetric: bool = False  # learns labels without what they have to one side, see models/asymmetry.py
    shape_weight: float | None = None  # of the loss on the shape of a network's maps, `losses.masked_shape`

    def __post_init__(self):
        if self.epochs < 1 or self.batch_size < 1 or not 0 < self.learning_rate < math.inf:
            raise DataError(
                f"recipe {self.name}: epochs and batch size must be 1 or more and the learning rate above 0"
            )
        if self.weight_decay is not None and not 0 <= self.weight_decay < math.inf:
            raise DataError(f"recipe {self.name}: weight decay is {self.weight_decay}; 0 or more is accepted")
        if self.shape_weight is not None and not 0 <= self.shape_weight < math.inf:
            raise DataError(f"recipe {self.name}: shape weight is {self.shape_weight}; 0 or more is accepted")
        for field, accepted in (
            ("loss", LOSSES),
            ("schedule", SCHEDULES),
            ("augmentation", PIPELINES),
            ("label_rules", LABEL_RULES),
            ("optimizer", OPTIMIZERS),
        ):
            if getattr(self, field) not in accepted:
                raise DataError(f"unknown {field} {getattr(self, field)!r}; accepted: {', '.join(accepted)}")
        if self.head_epochs and self.patience is not None:
            raise DataError(f"recipe {self.name}: a head that learns before the rest goes with no early stopping")
        if self.head_epochs and self.head_epochs >= self.epochs:
            raise DataError(
                f"recipe {self.name}: the head alone learns for {self.head_epochs} epochs; more in all are needed"
            )

    def with_changes(self, **changes) -> "Recipe":
        """This recipe with the changes that are not None, which become part of its name: `quick+epochs=5`."""
        changes = {k: v for k, v in changes.items() if v is not None and v != getattr(self, k, None)}
        named = "".join(f"+{field}={value}" for field, value in changes.items())
        return replace(self, name=self.name + named, **changes)

    def stages(self) -> list["Recipe"]:
        """Recipes without a head's part, to train by one after the other: the head's first, where there is one."""
        if not self.head_epochs:
            return [self]
        rest = replace(self, epochs=self.epochs - self.head_epochs, head_epochs=None, head_learning_rate=None)
        head = replace(rest, epochs=self.head_epochs, learning_rate=self.head_learning_rate, schedule="constant")
        return [head, rest]

    def as_dict(self) -> dict:
        """Fields by name; those that came later only where they are used, for older records lack them."""
        later = {
            "head_epochs": None,
            "head_learning_rate": None,
            "augmentation": "none",
            "weight_decay": None,
            "label_rules": "one",
            "optimizer": "adam",
            "symmetric": False,
            "shape_weight": None,
        }
        return {name: value for name, value in asdict(self).items() if name not in later or value != later[name]}

    def pipeline(self, schema: Schema) -> Pipeline | None:
        """What training batches of these keypoints pass through; None where they are taken as they are."""
        steps = PIPELINES[self.augmentation]
        return Pipeline(steps, schema) if steps else None


LOSSES = ("mse", "smooth_l1", "l1", "wing")
SCHEDULES = ("constant", "cosine")
OPTIMIZERS = ("adam", "muon")

RECIPES = {
    recipe.name: recipe
    for recipe in (
        # The original study's: long, with a small constant step.
        Recipe("reference", epochs=200, batch_size=32, learning_rate=1e-5, patience=20),
        # A sound comparison in minutes: a hundred times the step, decayed, the same fixed length for all.
        Recipe("quick", epochs=20, batch_size=64, learning_rate=1e-3, schedule="cosine"),
        # The same on faces that are changed at random: no network can learn these by heart.
        Recipe("augmented", epochs=20, batch_size=64, learning_rate=1e-3, schedule="cosine", augmentation="mild"),
        # The 68-point projects' (Udacity), which keep the last epoch; their other row has `learning_rate` 0.01.
        Recipe("udacity", epochs=10, batch_size=10, learning_rate=1e-3, restore_best=False),
        # For models/efficientnet_b0.py. The original project's: every weight moves, slowly.
        Recipe("efficientnet", epochs=100, batch_size=16, learning_rate=1e-5),
        # The usual order of transfer: large steps while only the new head learns, then small ones for all weights,
        # so that the errors of an untrained head do not wash out what the backbone knows.
        Recipe(
            "head_first",
            epochs=20,
            batch_size=32,
            learning_rate=1e-4,
            schedule="cosine",
            head_epochs=5,
            head_learning_rate=1e-3,
        ),
        # What the most accurate network is trained by, chosen on validation faces (studies/kaggle15-ablation.toml).
        Recipe(
            "best",
            epochs=45,
            batch_size=64,
            learning_rate=0.01,
            loss="l1",
            schedule="cosine",
            augmentation="standard",
            weight_decay=0.02,
            label_rules="by_source",
            symmetric=True,
            optimizer="muon",
            shape_weight=1.0,
        ),
        # Where the search for it began: half as long, so that each idea costs minutes.
        Recipe(
            "short",
            epochs=20,
            batch_size=64,
            learning_rate=2e-3,
            loss="l1",
            schedule="cosine",
            augmentation="medium",
            weight_decay=0.02,
            label_rules="by_source",
        ),
    )
}


def get_recipe(name: str) -> Recipe:
    """Raises DataError naming the known recipes for an unknown name."""
    if name not in RECIPES:
        raise DataError(f"unknown recipe {name!r}; accepted: {', '.join(RECIPES)}")
    return RECIPES[name]
