"""Train one network on one prepared data set and write its run folder.

Every `python -m models.<name>` is `main("<name>")` of this module.
"""

import argparse
import csv
import importlib.util
import shlex
import sys
import time
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.prepared import Prepared, Split, load
from data_prep.style import STYLE
from models.backend import import_keras
from models.precision import PRECISIONS
from models.provenance import commit, provenance
from models.recipe import RECIPES, Recipe, get_recipe
from models.registry import Network, folder_name, get_network, get_options
from models.runs import RECORD_FILES, Predictions, Run, publish, read_run, write_record

PREDICT_BATCH = 256


def main(model: str, argv: list[str] | None = None) -> int:
    args = parse_arguments(model, argv)
    try:
        network = get_network(model, **{option: getattr(args, option) for option in get_options(model)})
        data = load(args.data)
        recipe = get_recipe(args.recipe).with_changes(
            epochs=args.epochs, batch_size=args.batch_size, learning_rate=args.learning_rate
        )
        output = args.output or default_folder(data, network.name, recipe, args.seed)
        if all((output / name).is_file() for name in RECORD_FILES) and not args.overwrite:
            check_same(output, network.name, data, recipe, args.seed, args.precision)
            print(f"{output} is a finished run (--overwrite trains it again)")
            return 0
        with publish(output) as folder:
            train(network, data, recipe, args.seed, args.precision, folder, output.name, args.command, args.tensorboard)
        config = read_run(output).config
        print(
            f"{output}: {config['epochs']} epochs in {config['train_seconds']:.0f} s, kept epoch {config['best_epoch']}"
        )
    except (DataError, OSError) as error:
        print(f"models.{model}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"models.{model}: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def parse_arguments(model: str, argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m models.{model}",
        description=f"Train the network {model} on a prepared data set and write its run folder.",
    )
    parser.add_argument("--data", type=Path, default=Path("data/prepared/synthetic"), help="default: %(default)s")
    for option, settings in get_options(model).items():
        parser.add_argument(f"--{option}", **settings)
    parser.add_argument("--recipe", default="quick", help=f"{', '.join(RECIPES)} (default: quick)")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--batch-size", type=int, help="default: the recipe's")
    parser.add_argument("--learning-rate", type=float, help="default: the recipe's")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights, order and dropout (default: 0)")
    parser.add_argument("--output", type=Path, help="default: runs/<data>/<model>-<recipe>-<treatment>-s<seed>")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto",
                        help="auto: bfloat16 arithmetic where the hardware has it (default: auto)")  # fmt: skip
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard logs to the run folder")
    parser.add_argument("--overwrite", action="store_true", help="train again where a finished run stands")
    args = parser.parse_args(argv)
    if args.seed < 0:
        parser.error("--seed must be 0 or more")
    args.command = shlex.join(["python", "-m", f"models.{model}", *(sys.argv[1:] if argv is None else argv)])
    return args


def default_folder(data: Prepared, model: str, recipe: Recipe, seed: int) -> Path:
    return Path("runs") / data.name / f"{folder_name(model)}-{recipe.name}-{data.manifest['treatment']}-s{seed}"


def check_same(folder: Path, model: str, data: Prepared, recipe: Recipe, seed: int, precision: str) -> None:
    """Raise DataError where a finished run is not what is asked for now; warn where its code was another."""
    run = read_run(folder)
    config, source = run.config, ("kind", "sha256")
    asked = {
        "model": model,
        "recipe": recipe.as_dict(),
        "seed": seed,
        "treatment": data.manifest["treatment"],
        "split": split_of(data),
        "source": [data.manifest["source"][key] for key in source],
    }
    found = {**config, "source": [config["data_source"].get(key) for key in source]}
    different = [name for name, value in asked.items() if found.get(name) != value]
    if precision not in ("auto", config["precision"]):
        different.append("precision")
    if not same_faces(run, data):
        different.append("validation or test faces")
    if different:
        raise DataError(
            f"{folder} is a finished run with another {', '.join(different)}; --overwrite it or name another --output"
        )
    if config["commit"] != (now := commit()):
        print(f"warning: {folder} was trained by commit {config['commit']}, this is {now}", file=sys.stderr)


def same_faces(run: Run, data: Prepared) -> bool:
    """Whether the run's validation and test faces are the data's: another grouping may part as many faces anew."""
    return all(np.array_equal(getattr(run, name).ids, getattr(data, name).ids) for name in ("val", "test"))


def split_of(data: Prepared) -> dict:
    """Faces per split, and the seed that split them."""
    return {**data.manifest["faces"], "seed": data.manifest["seed"]}


def train(
    model: Network, data: Prepared, recipe: Recipe, seed: int, precision: str, folder: Path, run: str, command: str,
    tensorboard: bool = False,
) -> None:  # fmt: skip
    """Train, and write the files of the run named `run` into `folder`, which exists and is empty."""
    keras = import_keras()
    from models.batches import Batches
    from models.precision import resolve

    policy = resolve(precision)
    image_size, face = data.train.images.shape[1:], np.array(data.manifest["mean_face"])
    if np.isnan(face).any():
        raise DataError(f"{data.folder}: a keypoint has no label in any training row")

    # Now: by the end of a long training the code may have moved on.
    made_by = provenance(keras.backend.backend(), command)
    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy(policy)
    network = model.build(image_size, face)
    batches = Batches(data.train.images, data.train.filled, recipe.batch_size, seed)
    val_batches = Batches(data.val.images, data.val.filled, PREDICT_BATCH)
    clock, stopping = EpochClock(keras), early_stopping(keras, recipe)
    start, start_cpu, history = time.perf_counter(), time.process_time(), {"epoch": []}
    for stage in (stages := recipe.stages()):
        if len(stages) > 1:
            backbone(network).trainable = stage is stages[-1]
        compile_network(keras, network, learning_rate(keras, stage, len(batches)))
        done = len(history["epoch"])
        fitted = network.fit(
            batches,
            shuffle=False,  # `batches` shuffles rows itself
            validation_data=val_batches,
            initial_epoch=done,
            epochs=done + stage.epochs,
            callbacks=[clock.callback, stopping, *tensorboard_logs(keras, tensorboard, folder)],
            verbose=1 if sys.stdout.isatty() else 2,
        )
        for name, values in {"epoch": [epoch + 1 for epoch in fitted.epoch], **fitted.history}.items():
            history[name] = history.get(name, []) + values
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    history |= clock.columns
    if not np.isfinite(history["val_mse"]).any():
        raise DataError(f"training diverged: no finite validation loss (learning rate {recipe.learning_rate})")

    # What is saved and scored is a float32 network: a file saved under mixed precision stays so for its users.
    keras.mixed_precision.set_global_policy("float32")
    final = model.build(image_size, face)
    final.set_weights(network.get_weights())

    config = {
        "run": run,
        "data": data.name,
        "data_source": data.manifest["source"],
        "trained_on": data.name,
        "data_folder": str(data.folder),
        "split": split_of(data),
        "schema": data.schema.name,
        "image_size": list(image_size),
        "treatment": data.manifest["treatment"],
        "model": model.name,
        "options": model.options,
        "recipe": recipe.as_dict(),
        "seed": seed,
        "precision": policy,
        "mean_face": data.manifest["mean_face"],
        "grouping": data.manifest.get("grouping"),
        "noise_floor": data.manifest.get("noise_floor"),
        "parameters": final.count_params(),
        "train_faces": len(data.train),
        "epochs": len(history["epoch"]),
        "best_epoch": stopping.best_epoch + 1 if recipe.restore_best else len(history["epoch"]),
        "train_seconds": round(seconds, 1),
        "train_cpu_seconds": round(cpu_seconds, 1),
        **made_by,
    }
    write_run(folder, final, config, history, data)


def compile_network(keras, network, rate) -> None:
    """Adam on the masked MSE with the MAE as metric. rate: a number or a Keras schedule."""
    from models.losses import MaskedMAE, MaskedMSE, masked_mse

    network.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=masked_mse,
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
    return keras.callbacks.EarlyStopping(
        monitor="val_mse",  # the validation loss, pooled over points
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


def tensorboard_logs(keras, wanted: bool, folder: Path) -> list:
    if not wanted:
        return []
    for package in ("tensorflow", "tensorboard"):
        if importlib.util.find_spec(package) is None:
            raise DataError(f"--tensorboard needs {package} (pip install {package})")
    return [keras.callbacks.TensorBoard(folder / "tensorboard")]


def predict(network, split: Split) -> Predictions:
    """Predictions of a network for one split, and their errors against its labels after treatment."""
    images = np.asarray(split.images)
    parts = [
        np.asarray(network.predict_on_batch(images[i : i + PREDICT_BATCH]), dtype=np.float32)
        for i in range(0, len(images), PREDICT_BATCH)
    ]
    predicted = np.concatenate(parts)
    return Predictions(
        ids=np.asarray(split.ids),
        groups=np.asarray(split.groups),
        sources=np.asarray(split.sources),
        predicted=predicted,
        error=predicted - split.filled,
        observed=np.asarray(split.observed),
    )


def write_run(folder: Path, network, config: dict, history: dict, data: Prepared) -> None:
    """Everything a run folder holds, see `models.runs`."""
    test = predict(network, data.test)
    write_record(folder, config, history, val=predict(network, data.val), test=test)
    network.save(folder / "model.keras")
    with open(folder / "summary.txt", "w") as file:
        network.summary(print_fn=lambda line: print(line, file=file), line_length=100)
    write_prediction_table(folder / "predictions_test.csv", test, data)
    plot_loss(folder / "loss.png", history, config)


def write_prediction_table(path: Path, predictions: Predictions, data: Prepared) -> None:
    """One row per face and keypoint: id, keypoint, truth (empty where unlabelled), prediction, observed."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "keypoint", "truth_x", "truth_y", "predicted_x", "predicted_y", "observed"])
        for face, name in enumerate(predictions.ids):
            for k, point in enumerate(data.schema.points):
                seen = bool(predictions.observed[face, k])
                truth = [f"{v:.3f}" for v in data.test.keypoints[face, k]] if seen else ["", ""]
                predicted = [f"{v:.3f}" for v in predictions.predicted[face, k]]
                writer.writerow([name, point, *truth, *predicted, int(seen)])


def plot_loss(path: Path, history: dict, config: dict) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        for name, label in (("loss", "training"), ("val_loss", "validation")):
            axes.plot(history["epoch"], history[name], label=label)
        axes.axvline(config["best_epoch"], color="0.7", linestyle=":", label="best epoch, kept")
        axes.set(xlabel="epoch", ylabel="mean squared error, px²", yscale="log", title=config["run"])
        axes.legend()
        figure.savefig(path, dpi=110, metadata={"Software": None})
