"""Fit a network to faces by a recipe: what training is, without the files around it."""

import importlib.util
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.prepared import Split
from data_prep.schema import Schema
from models import label_rules
from models.backend import import_keras
from models.recipe import Recipe
from models.registry import Network

PREDICT_BATCH = 256


@dataclass(frozen=True)
class Fitted:
    """A trained float32 network and how it came about.

    history: column name -> a value per epoch. best_epoch: 1-based, the one whose weights were kept. seconds, and
    cpu_seconds over all cores: of the training alone. parts: of a network merged of several, what to know of each.
    """

    network: object
    history: dict[str, list]
    best_epoch: int
    seconds: float
    cpu_seconds: float
    parts: dict[str, dict] | None = None


def fit(
    model: Network, train: Split, val: Split, schema: Schema, mean_face: np.ndarray, recipe: Recipe, seed: int,
    policy: str, tensorboard: Path | None = None,
) -> Fitted:  # fmt: skip
    """Train on the `filled` labels of `train`; the epoch to keep is chosen on those of `val`.

    mean_face: float [K, 2] in pixels, where the network starts from. policy: a Keras dtype policy for the training.
    tensorboard: folder for its logs. Under a recipe with `label_rules` by source the network may have other outputs
    than the schema's points, see `models.label_rules.answers`. Raises DataError where the epoch to keep has no finite
    validation loss.
    """
    keras = import_keras()
    from models.batches import Batches
    from models.losses import get_loss

    if recipe.label_rules == "by_source" and label_rules.has_two(train, schema):
        train, val, schema = (*map(label_rules.with_own_outputs, (train, val)), label_rules.BY_SOURCE)
        mean_face = label_rules.mean_outputs(train, mean_face)
    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy(policy)
    network = model.build(train.images.shape[1:], mean_face)
    batches = Batches(train.images, train.filled, recipe.batch_size, seed, recipe.pipeline(schema))
    loss, trained = get_loss(recipe.loss, train.images.shape[2]), network
    if recipe.shape_weight:
        trained, loss = with_shape(network, loss, recipe.shape_weight)
    val_batches = Batches(val.images, val.filled, PREDICT_BATCH)
    clock, stopping = EpochClock(keras), early_stopping(keras, recipe)
    start, start_cpu, history = time.perf_counter(), time.process_time(), {"epoch": []}
    for stage in (stages := recipe.stages()):
        if len(stages) > 1:
            backbone(network).trainable = stage is stages[-1]
        rate = learning_rate(keras, stage, len(batches))
        compile_network(keras, trained, loss, rate, recipe.optimizer, recipe.weight_decay)
        done = len(history["epoch"])
        fitted = trained.fit(
            batches,
            shuffle=False,  # `batches` shuffles rows itself
            validation_data=val_batches,
            initial_epoch=done,
            epochs=done + stage.epochs,
            callbacks=[clock.callback, stopping, *tensorboard_logs(keras, tensorboard)],
            verbose=1 if sys.stdout.isatty() else 2,
        )
        for name, values in {"epoch": [epoch + 1 for epoch in fitted.epoch], **fitted.history}.items():
            history[name] = history.get(name, []) + values
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    history |= clock.columns
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
    return Fitted(final, history, best_epoch, round(seconds, 1), round(cpu_seconds, 1))


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


class EpochClock:
    """A callback that notes each epoch's seconds and its final learning rate."""

    def __init__(self, keras):
        self.columns = {"learning_rate": [], "seconds": []}
        started = [0.0]

        def begin(epoch, logs=None):
            started[0] = time.perf_counter()

        def end(epoch, logs=None):
            self.columns["seconds"].append(round(time.perf_counter() - started[0], 2))
            rate = float(keras.ops.convert_to_numpy(self.callback.model.optimizer.learning_rate))
            self.columns["learning_rate"].append(rate)

        self.callback = keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end)


def tensorboard_logs(keras, folder: Path | None) -> list:
    if folder is None:
        return []
    for package in ("tensorflow", "tensorboard"):
        if importlib.util.find_spec(package) is None:
            raise DataError(f"--tensorboard needs {package} (pip install {package})")
    return [keras.callbacks.TensorBoard(folder)]
