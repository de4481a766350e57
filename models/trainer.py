"""Train one network on one prepared data set and write its run folder.

Every `python -m models.<name>` is `main("<name>")` of this module; `models.specialist` and `models.taught` share all
but how to fit.
"""

import argparse
import hashlib
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_prep.augment import PIPELINES
from data_prep.faceset import DataError
from data_prep.prepared import Prepared, load
from models import asymmetry
from models.backend import import_keras
from models.checkpoint import Checkpoint
from models.fitting import Fitted, fit
from models.label_rules import LABEL_RULES
from models.precision import PRECISIONS, resolve
from models.provenance import commit, provenance
from models.recipe import LOSSES, OPTIMIZERS, RECIPES, Recipe, get_recipe
from models.registry import NAMES, Network, folder_name, get_network, get_options
from models.run_output import write_run
from models.runs import RECORD_FILES, Run, check_output, publish, read_run

MOST_SEEDS = 2**32  # of NumPy's
LABEL_TOLERANCE = 1.0  # px; a record's labels are within 0.04 px, a diverged run's within more (models/runs.py)


def main(model: str, argv: list[str] | None = None) -> int:
    return make_run(f"models.{model}", model, parse_arguments(f"models.{model}", model, argv))


def make_run(module: str, model: str, args: argparse.Namespace, load: Callable = load, fit: Callable = fit) -> int:
    """Train, or find the run finished, as the command line of `module` asks; returns the exit code.

    load, fit: like `data_prep.prepared.load` and `models.fitting.fit`.
    """
    output = None
    try:
        network = get_network(model, **{option: getattr(args, option) for option in get_options(model)})
        data = load(args.data)
        recipe = get_recipe(args.recipe).with_changes(
            epochs=args.epochs,
            batch_size=args.batch_size,
            learning_rate=args.learning_rate,
            loss=args.loss,
            augmentation=args.augmentation,
            weight_decay=args.weight_decay,
            label_rules=args.label_rules,
            optimizer=args.optimizer,
            shape_weight=args.shape_weight,
            symmetric=args.symmetric,
        )
        if network.start:
            check_not_seen(network.start, data)
        output = args.output or default_folder(data, network.name, recipe, args.seed)
        if all((output / name).is_file() for name in RECORD_FILES) and not args.overwrite:
            check_same(output, network, data, recipe, args.seed, args.precision)
            print(f"{output} is a finished run (--overwrite trains it again)")
            return 0
        checkpoint = checkpoint_of(output, network, data, recipe, args.seed, args.precision)
        train(network, data, recipe, args.seed, args.precision, output, args.command, args.tensorboard, fit, checkpoint)
        checkpoint.remove()
        config = read_run(output).config
        print(
            f"{output}: {config['epochs']} epochs in {config['train_seconds']:.0f} s, kept epoch {config['best_epoch']}"
        )
    except (DataError, OSError) as error:
        print(f"{module}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        is_kept = output is not None and list(output.parent.glob(f"{output.name}.checkpoint*"))
        what = "the same command goes on where it was" if is_kept else "nothing was written"
        print(f"{module}: stopped; {what}", file=sys.stderr)
        return 130
    return 0


def parse_arguments(module: str, model: str, argv: list[str] | None, **parser_settings) -> argparse.Namespace:
    """The options of `python -m <module>`, which trains `model`. parser_settings: in place of argparse's usual ones."""
    settings = {
        "prog": f"python -m {module}",
        "description": f"Train the network {model} on a prepared data set and write its run folder.",
    }
    parser = argparse.ArgumentParser(**(settings | parser_settings))
    parser.add_argument("--data", type=Path, default=Path("data/prepared/synthetic"), help="default: %(default)s")
    for option, settings in get_options(model).items():
        parser.add_argument(f"--{option}", **settings)
    parser.add_argument("--recipe", default="quick", help=f"{', '.join(RECIPES)} (default: quick)")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--batch-size", type=int, help="default: the recipe's")
    parser.add_argument("--learning-rate", type=float, help="default: the recipe's")
    parser.add_argument("--loss", choices=LOSSES, help="default: the recipe's")
    parser.add_argument("--augmentation", choices=PIPELINES, help="of training faces (default: the recipe's)")
    parser.add_argument("--weight-decay", type=float, help="Adam becomes AdamW (default: the recipe's)")
    parser.add_argument("--label-rules", choices=LABEL_RULES, help="by_source: outputs of their own for points that two"
                        " label sources put elsewhere (default: the recipe's)")  # fmt: skip
    parser.add_argument("--optimizer", choices=OPTIMIZERS, help="default: the recipe's")
    parser.add_argument("--shape-weight", type=float, help="of a loss on the shape of the maps, for networks that draw"
                        " some (default: the recipe's)")  # fmt: skip
    parser.add_argument("--symmetric", action=argparse.BooleanOptionalAction, default=None, help="learn labels without"
                        " what a label source has to one side (default: the recipe's)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of initial weights, order and dropout (default: 0)")
    parser.add_argument("--output", type=Path, help="default: runs/<data>/<model>-<recipe>-<treatment>-s<seed>")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto",
                        help="auto: bfloat16 arithmetic where the hardware has it (default: auto)")  # fmt: skip
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard logs to the run folder")
    parser.add_argument("--overwrite", action="store_true", help="train again where a finished run stands")
    args = parser.parse_args(argv)
    if not 0 <= args.seed < MOST_SEEDS:
        parser.error(f"--seed {args.seed}; accepted: 0 to {MOST_SEEDS - 1}")
    args.command = shlex.join(["python", "-m", module, *(sys.argv[1:] if argv is None else argv)])
    return args


def parse_with_model(
    module: str, default: str, argv: list[str] | None, options: argparse.ArgumentParser | None = None, **parser_settings
) -> argparse.Namespace:
    """As `parse_arguments`, where `--model` says which network it is and `options` has further ones of the module.

    Raises DataError naming the known networks for an unknown one.
    """
    chooser = argparse.ArgumentParser(add_help=False, parents=[options] if options else [])
    chooser.add_argument("--model", default=default, metavar="NAME", help=f"{', '.join(NAMES)} (default: {default})")
    model = chooser.parse_known_args(argv)[0].model  # first, for the other options depend on it
    if model not in NAMES:
        raise DataError(f"unknown model {model!r}; accepted: {', '.join(NAMES)}")
    return parse_arguments(module, model, argv, parents=[chooser], **parser_settings)


def default_folder(data: Prepared, model: str, recipe: Recipe, seed: int) -> Path:
    return Path("runs") / data.name / f"{folder_name(model)}-{recipe.name}-{data.manifest['treatment']}-s{seed}"


def checkpoint_of(
    output: Path, model: Network, data: Prepared, recipe: Recipe, seed: int, precision: str
) -> Checkpoint:
    """Where a training that writes to `output` keeps its state; no other training goes on from it."""
    about = {
        "backend": import_keras().backend.backend(),
        "commit": commit(),
        "model": model.name,
        "options": model.options,
        "recipe": recipe.as_dict(),
        "seed": seed,
        "precision": resolve(precision),
        "treatment": data.manifest["treatment"],
        "teacher": data.manifest.get("teacher"),
        "schema": data.schema.name,
        "image_size": image_size(data),
        "split": split_of(data),
        "source": data.manifest["source"],
        # Of the same file other faces may be in training, where these were grouped or split anew.
        "faces": [hashlib.sha256(np.ascontiguousarray(part.ids)).hexdigest() for part in (data.train, data.val)],
    }
    return Checkpoint(output.with_name(f"{output.name}.checkpoint.npz"), about)


def check_same(folder: Path, model: Network, data: Prepared, recipe: Recipe, seed: int, precision: str) -> None:
    """Raise DataError where a finished run is not what is asked for now; warn where its code was another."""
    run = read_run(folder)
    config, source = run.config, ("kind", "sha256")
    asked = {
        "model": model.name,
        "options": model.options,
        "recipe": recipe.as_dict(),
        "seed": seed,
        "treatment": data.manifest["treatment"],
        "teacher": _known(data.manifest.get("teacher")),
        "schema": data.schema.name,
        "image_size": image_size(data),
        "split": split_of(data),
        "source": [data.manifest["source"][key] for key in source],
    }
    found_source = [(config.get("data_source") or {}).get(key) for key in source]
    found = {"options": {}, **config, "teacher": _known(config.get("teacher")), "source": found_source}
    different = [name for name, value in asked.items() if found.get(name) != value]
    if precision not in ("auto", config.get("precision")):
        different.append("precision")
    if not same_faces(run, data):
        different.append("validation or test faces")
    if different:
        raise DataError(
            f"{folder} is a finished run with another {', '.join(different)}; --overwrite it or name another --output"
        )
    if config.get("commit") != (now := commit()):
        print(f"warning: {folder} was trained by commit {config.get('commit')}, this is {now}", file=sys.stderr)


def _known(teacher: dict | None) -> list | None:
    """What tells one teacher from another, also where there is but a record of it."""
    return teacher and [teacher.get(name) for name in ("run", "commit", "command")]


def check_not_seen(run: Run, data: Prepared) -> None:
    """Raise DataError where a run's network was trained on the data's faces under another split: it saw test faces."""
    source, trained_on = data.manifest["source"], run.config.get("data_source") or {}
    same_file = source["kind"] != "synthetic" and source["sha256"] == trained_on.get("sha256")
    same_split = run.config.get("split") == split_of(data) and np.array_equal(run.test.ids, data.test.ids)
    if not same_split and (same_file or labels_in_common(run, data) > 0.5):
        raise DataError(
            f"{data.folder} splits the faces that {run.folder} was trained on anew: it would be tested on faces it saw"
        )


def labels_in_common(run: Run, data: Prepared) -> float:
    """The share of the run's validation and test faces which are in the data, by name and by label; 0 without any.

    The same faces may come in another file: as a zip or out of it. Labels of a run's record are rounded.
    """
    known = {
        (name, *np.flatnonzero(seen)): keypoints[seen]
        for split in (data.train, data.val, data.test)
        for name, keypoints, seen in zip(split.ids, split.keypoints, split.observed, strict=True)
    }
    found = [
        np.allclose(known.get((name, *np.flatnonzero(seen)), np.inf), truth[seen], rtol=0, atol=LABEL_TOLERANCE)
        for split in (run.val, run.test)
        for name, truth, seen in zip(split.ids, split.truth, split.observed, strict=True)
        if seen.any()
    ]
    return sum(found) / max(1, len(found))


def same_faces(run: Run, data: Prepared) -> bool:
    """Whether the run's validation and test faces are the data's: another grouping may part as many faces anew."""
    return all(np.array_equal(getattr(run, name).ids, getattr(data, name).ids) for name in ("val", "test"))


def split_of(data: Prepared) -> dict:
    """Faces per split, and the seed that split them."""
    return {**data.manifest["faces"], "seed": data.manifest["seed"]}


def train(
    model: Network, data: Prepared, recipe: Recipe, seed: int, precision: str, output: Path, command: str,
    tensorboard: bool = False, fit: Callable = fit, checkpoint: Checkpoint | None = None,
) -> None:  # fmt: skip
    """Train, and write the run folder `output`.

    tensorboard: logs lie beside it until it is written. fit: like `models.fitting.fit`. checkpoint: of this training.
    Raises DataError where `output` holds anything that is not of a run, or the training diverges.
    """
    check_output(output)  # now: by the end of a long training it is too late
    face = np.array(data.manifest["mean_face"])
    if np.isnan(face).any():
        raise DataError(f"{data.folder}: a keypoint has no label in any training row")
    # Now, too: by then the code may have moved on.
    made_by = provenance(import_keras().backend.backend(), command)
    policy = resolve(precision)
    logs = output.with_name(f"{output.name}.tensorboard") if tensorboard else None
    lean = asymmetry.of_labels(data.train, data.schema) if recipe.symmetric else {}
    faces = [asymmetry.without(split, lean) for split in (data.train, data.val)]
    fitted = fit(model, *faces, data.schema, face, recipe, seed, policy, logs, checkpoint)
    config = {
        "run": output.name,
        **about(data),
        "treatment": data.manifest["treatment"],
        "model": model.name,
        "options": model.options,
        "recipe": recipe.as_dict(),
        "seed": seed,
        "precision": policy,
        "parameters": fitted.network.count_params(),
        "outputs": fitted.network.output_shape[1],
        "train_faces": len(data.train),
        **times(fitted),
        **asymmetry.for_config(lean),
        **({"parts": fitted.parts} if fitted.parts else {}),
        **({"resumed_after_epochs": fitted.resumed} if fitted.resumed else {}),
        **({"teacher": teacher} if (teacher := data.manifest.get("teacher")) else {}),
        **made_by,
    }
    with publish(output) as folder:
        write_run(folder, fitted.network, config, fitted.history, data)
        if logs and logs.is_dir():  # none where a killed training had but this left to do
            logs.rename(folder / "tensorboard")


def image_size(data: Prepared) -> list[int]:
    """Height and width in pixels."""
    return list(data.train.images.shape[1:])


def about(data: Prepared) -> dict:
    """What a run's config says of the data that it was trained and is scored on."""
    return {
        "data": data.name,
        "data_source": data.manifest["source"],
        "data_command": data.manifest.get("command"),
        "trained_on": data.name,
        "data_folder": str(data.folder),
        "split": split_of(data),
        "schema": data.schema.name,
        "image_size": image_size(data),
        "mean_face": data.manifest["mean_face"],
        "grouping": data.manifest.get("grouping"),
        "noise_floor": data.manifest.get("noise_floor"),
    }


def times(fitted: Fitted) -> dict:
    """What a run's config says of how long it was trained."""
    return {
        "epochs": len(fitted.history["epoch"]),
        "best_epoch": fitted.best_epoch,
        "train_seconds": fitted.seconds,
        "train_cpu_seconds": fitted.cpu_seconds,
    }
