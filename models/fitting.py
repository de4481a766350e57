"""Fit a network to faces by a recipe: what training is, without the files around it."""

import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.prepared import Split
from data_prep.schema import Schema
from models import label_rules
from models.backend import import_keras
from models.checkpoint import Checkpoint, State
from models.recipe import Recipe
from models.registry import Network

PREDICT_BATCH = 256


@dataclass(frozen=True)
class Fitted:
    """A trained float32 network and how it came about.

    history: column name -> a value per epoch. best_epoch: 1-based, the one whose weights were kept. seconds, and
    cpu_seconds over all cores: of the training alone. parts: of a network merged of several, what to know of each.
    resumed: after how many epochs a training that was killed was taken up, each time.
    """

    network: object
    history: dict[str, list]
    best_epoch: int
    seconds: float
    cpu_seconds: float
    parts: dict[str, dict] | None = None
    resumed: list[int] = field(default_factory=list)


def fit(
    model: Network, train: Split, val: Split, schema: Schema, mean_face: np.ndarray, recipe: Recipe, seed: int,
    policy: str, tensorboard: Path | None = None, checkpoint: Checkpoint | None = None,
) -> Fitted:  # fmt: skip
    """Train on the `filled` labels of `train`; the epoch to keep is chosen on those of `val`.

    mean_face: float [K, 2] in pixels, where the network starts from. policy: a Keras dtype policy for the training.
    tensorboard: folder for its logs. checkpoint: where its state is kept, and taken up where there is one. Under a
    recipe with `label_rules` by source the network may have other outputs than the schema's points, see
    `models.label_rules.answers`. Raises DataError where the epoch to keep has no finite validation loss.
    """
    keras = import_keras()
    from models.batches import Batches

    train, val, schema, mean_face = label_rules.lessons(recipe.label_rules, train, val, schema, mean_face)
    training = set_up(model, train, schema, mean_face, recipe, seed, policy)
    network, trained, batches = training.network, training.trained, training.batches
    val_batches = Batches(val.images, val.filled, PREDICT_BATCH)
    stopping = early_stopping(keras, recipe)
    progress, end = Progress(keras, trained, stopping, checkpoint), 0
    for stage in (stages := recipe.stages()):
        begin, end = end, end + stage.epochs
        if len(stages) > 1:
            backbone(network).trainable = stage is stages[-1]
        if progress.is_over(begin, end):
            if progress.epochs <= end:
                progress.finish()
            continue
        rate = learning_rate(keras, stage, len(batches))
        training.compile(recipe, rate)
        progress.take_up(within_stage=progress.epochs > begin)
        batches.start_at(progress.epochs)
        trained.fit(
            batches,
            shuffle=False,  # `batches` shuffles rows itself
            validation_data=val_batches,
            initial_epoch=progress.epochs,
            epochs=end,
            callbacks=[stopping, progress.callback, *tensorboard_logs(keras, tensorboard)],
            verbose=1 if sys.stdout.isatty() else 2,
        )
    progress.finish()
    history = progress.columns
    best_epoch = stopping.best_epoch + 1 if recipe.restore_best else len(history["epoch"])
    if not np.isfinite(history["val_mse"][best_epoch - 1]):
        raise DataError(
            f"training diverged: no finite validation loss in epoch {best_epoch}, which is kept "
            f"(learning rate {recipe.learning_rate})"
        )

    # What is saved and scored is a float32 network: a file saved under mixed precision stays so for its users.
    keras.mixed_precision.set_global_policy("float32")
    final = model.build(train.images.shape[1:], mean_face)
    final.set_weights(network.get_weights())
    seconds, cpu_seconds = (round(value, 1) for value in progress.seconds())
    return Fitted(final, history, best_epoch, seconds, cpu_seconds, resumed=progress.resumed)


@dataclass(frozen=True)
class Training:
    """A network and what it learns. trained: the network, or that which has it inside and gives its maps, too."""

    network: object
    trained: object
    loss: Callable
    batches: object

    def compile(self, recipe: Recipe, rate) -> None:
        """rate: a number or a Keras schedule."""
        compile_network(import_keras(), self.trained, self.loss, rate, recipe.optimizer, recipe.weight_decay)


def set_up(
    model: Network, train: Split, schema: Schema, mean_face: np.ndarray, recipe: Recipe, seed: int, policy: str
) -> Training:
    """What a recipe trains, untrained. schema, mean_face: of the network's outputs, as `label_rules.lessons` says."""
    keras = import_keras()
    from models.batch_norm import quicken
    from models.batches import Batches
    from models.losses import get_loss

    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy(policy)
    network = model.build(train.images.shape[1:], mean_face)
    quicken(network)
    batches = Batches(train.images, train.filled, recipe.batch_size, seed, recipe.pipeline(schema))
    loss, trained = get_loss(recipe.loss, train.images.shape[2]), network
    if recipe.shape_weight:
        trained, loss = with_shape(network, loss, recipe.shape_weight)
    return Training(network, trained, loss, batches)


def with_shape(network, loss, weight: float):
    """The network and loss to train with where the shape of the maps counts too. Raises DataError where it has none."""
    from models.layers import with_maps
    from models.losses import masked_shape

    found = with_maps(network)
    if found is None:
        raise DataError(f"{network.name} draws no maps whose shape could count; --shape-weight 0 leaves that out")
    trained, places, cell = found
    shape = masked_shape(places, cell)
    return trained, lambda truth, output: loss(truth, output) + weight * shape(truth, output)


def compile_network(keras, network, loss, rate, kind: str = "adam", weight_decay: float | None = None) -> None:
    """A masked loss with the MAE as metric. rate: a number or a Keras schedule. kind, weight_decay: see `Recipe`."""
    from models.losses import MaskedMAE, MaskedMSE

    if kind == "muon":
        from models.muon import ConvMuon

        decay = weight_decay or 0.0
        optimizer = ConvMuon(rate, weight_decay=decay, adam_weight_decay=decay, exclude_layers=["maps", "outputs"])
    elif weight_decay is None:
        optimizer = keras.optimizers.Adam(rate)
    else:
        optimizer = keras.optimizers.AdamW(rate, weight_decay=weight_decay)
    if weight_decay is not None:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    network.compile(
        optimizer=optimizer,
        loss=loss,
        metrics=[MaskedMAE(), MaskedMSE()],
        jit_compile=keras.backend.backend() == "jax",  # XLA on a CPU bypasses TensorFlow's fast kernels
    )


def backbone(network):
    """The pre-trained part of a network. Raises DataError where it has none."""
    for layer in network.layers:
        if layer.name == "backbone":
            return layer
    raise DataError(f"{network.name} has no pre-trained part that a head could learn before; use another recipe")


def learning_rate(keras, recipe: Recipe, steps_per_epoch: int):
    if recipe.schedule == "constant":
        return recipe.learning_rate
    steps = recipe.epochs * steps_per_epoch
    warmup = max(1, steps // 20)
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=recipe.learning_rate, warmup_steps=warmup
    )


def early_stopping(keras, recipe: Recipe):
    """Chooses the epoch by the mean squared error in px^2, pooled over points, whatever the recipe's loss is."""
    return keras.callbacks.EarlyStopping(
        monitor="val_mse",
        mode="min",
        patience=recipe.epochs if recipe.patience is None else recipe.patience,
        min_delta=recipe.min_delta,
        restore_best_weights=recipe.restore_best,
    )


class Progress:
    """What a training has come to: notes each epoch, keeps the state on disk, and takes one up that was left there.

    columns: column name -> a value per epoch; with each epoch's seconds and its final learning rate. callback: Keras'
    own kind; it must stand behind `stopping`, whose state it keeps.
    """

    def __init__(self, keras, network, stopping, checkpoint: Checkpoint | None):
        self.keras, self.network, self.stopping, self.checkpoint = keras, network, stopping, checkpoint
        self.state: State | None = checkpoint.read() if checkpoint else None
        self.columns = {name: [*values] for name, values in self.state.history.items()} if self.state else {"epoch": []}
        self.resumed = [*self.state.resumed, self.state.epochs] if self.state else []
        self.started = self.written = time.perf_counter()
        self.started_cpu = time.process_time()
        self._before = (self.state.seconds, self.state.cpu_seconds) if self.state else (0.0, 0.0)
        self.callback = keras.callbacks.LambdaCallback(
            on_train_begin=self._train_begins, on_epoch_begin=self._epoch_begins, on_epoch_end=self._epoch_ends
        )
        if self.state:
            print(f"{checkpoint.path}: going on after epoch {self.state.epochs}", flush=True)
            _set(network.variables, self.state.network)
        elif checkpoint and checkpoint.path.exists():
            print(f"{checkpoint.path} is damaged or of another training; starting anew", flush=True)

    @property
    def epochs(self) -> int:
        return len(self.columns["epoch"])

    def is_over(self, begin: int, end: int) -> bool:
        """Whether a stage that begins and ends after these epochs was done, or had stopped early."""
        stopped = self.state is not None and self.state.stopped and self.epochs > begin
        return self.epochs >= end or stopped

    def take_up(self, within_stage: bool) -> None:
        """Put the optimizer and early stopping where they were; both start anew with a stage."""
        if self.state and within_stage:
            self.network.optimizer.build(self.network.trainable_variables)
            _set(self.network.optimizer.variables, self.state.optimizer)
        else:
            self.state = None

    def finish(self) -> None:
        """What `fit` does at the end of a stage, where a training was left after its last epoch."""
        if self.state and self.epochs == self.state.epochs:
            self._stopping_as_it_was()
            if self.stopping.restore_best_weights and self.state.best:
                self.network.set_weights(self.state.best)

    def seconds(self) -> tuple[float, float]:
        """Taken so far, and over all cores."""
        return self._before[0] + time.perf_counter() - self.started, self._before[
            1
        ] + time.process_time() - self.started_cpu

    def _train_begins(self, logs=None):
        if self.state:
            self._stopping_as_it_was()

    def _stopping_as_it_was(self):
        self.stopping.wait, self.stopping.best = self.state.wait, self.state.best_value
        self.stopping.best_epoch, self.stopping.best_weights = self.state.best_epoch, self.state.best or None

    def _epoch_begins(self, epoch, logs=None):
        self.epoch_started = time.perf_counter()

    def _epoch_ends(self, epoch, logs=None):
        rate = float(self.keras.ops.convert_to_numpy(self.network.optimizer.learning_rate))
        seconds = round(time.perf_counter() - self.epoch_started, 2)
        for name, value in {"epoch": epoch + 1, **logs, "learning_rate": rate, "seconds": seconds}.items():
            self.columns.setdefault(name, []).append(value)
        if self.checkpoint and time.perf_counter() - self.written >= self.checkpoint.every:
            self.checkpoint.write(self._now())
            self.written = time.perf_counter()

    def _now(self) -> State:
        seconds, cpu_seconds = self.seconds()
        return State(
            history=self.columns,
            network=_values(self.network.variables),
            optimizer=_values(self.network.optimizer.variables),
            best=self.stopping.best_weights or [],
            wait=self.stopping.wait,
            best_value=None if self.stopping.best is None else float(self.stopping.best),
            best_epoch=self.stopping.best_epoch,
            stopped=bool(self.network.stop_training),
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            resumed=self.resumed,
        )


def _values(variables) -> list[np.ndarray]:
    return [np.asarray(variable) for variable in variables]


def _set(variables, values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def tensorboard_logs(keras, folder: Path | None) -> list:
    if folder is None:
        return []
    for package in ("tensorflow", "tensorboard"):
        if importlib.util.find_spec(package) is None:
            raise DataError(f"--tensorboard needs {package} (pip install {package})")
    return [keras.callbacks.TensorBoard(folder)]
