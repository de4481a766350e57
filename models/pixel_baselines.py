"""What the baselines on small pixels share: the choice of settings on validation, the record.

A baseline is a module like `models/ridge.py`: a grid of settings and `fit(images, labels, **settings)`, which returns
something with `predict_on_batch(images)`, uint8 [B, H, W] in and float32 [B, K, 2] in pixels out, and `parameters`.
It needs scikit-learn and no Keras. Its record has no epochs, so its history.csv has no rows.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from data_prep.prepared import Prepared, load
from models.provenance import commit, provenance
from models.run_output import predict
from models.runs import RECORD_FILES, Predictions, publish, read_run, write_record
from models.trainer import about, image_size, same_faces, split_of


def main(model: str, kind: str, grid: list[dict], fit: Callable, argv: list[str] | None = None) -> int:
    """The command line of a baseline. kind: how it learns, the name of its recipe; grid: the settings to try."""
    args = parse_arguments(model, argv)
    try:
        data = load(args.data)
        output = args.output or Path("runs") / data.name / f"{model}-{data.manifest['treatment']}"
        if all((output / name).is_file() for name in RECORD_FILES) and not args.overwrite:
            check_same(output, model, data)
            print(f"{output} is a finished run (--overwrite makes it again)")
            return 0
        with publish(output) as folder:
            write_baseline(folder, output.name, model, kind, grid, fit, data, args.command)
        config = read_run(output).config
        print(f"{output}: {config['recipe']}, {config['train_seconds']:.0f} s")
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
        description=f"Fit the baseline {model} to a prepared data set and write its light record.",
    )
    parser.add_argument("--data", type=Path, default=Path("data/prepared/synthetic"), help="default: %(default)s")
    parser.add_argument("--output", type=Path, help=f"default: runs/<data>/{model}-<treatment>")
    parser.add_argument("--overwrite", action="store_true", help="fit again where a finished run stands")
    args = parser.parse_args(argv)
    args.command = shlex.join(["python", "-m", f"models.{model}", *(sys.argv[1:] if argv is None else argv)])
    return args


def check_same(folder: Path, model: str, data: Prepared) -> None:
    """Raise DataError where a finished run is not what is asked for now; warn where its code was another."""
    run = read_run(folder)
    config = run.config
    asked = {
        "model": model,
        "treatment": data.manifest["treatment"],
        "schema": data.schema.name,
        "image_size": image_size(data),
        "split": split_of(data),
    }
    different = [name for name, value in asked.items() if config.get(name) != value]
    source, found = data.manifest["source"], config.get("data_source") or {}
    if any(found.get(key) != source[key] for key in ("kind", "sha256")):
        different.append("source")
    if not same_faces(run, data):
        different.append("validation or test faces")
    if different:
        raise DataError(
            f"{folder} is a finished run with another {', '.join(different)}; --overwrite it or name another --output"
        )
    if config.get("commit") != (now := commit()):
        print(f"warning: {folder} was made by commit {config.get('commit')}, this is {now}", file=sys.stderr)


def write_baseline(
    folder: Path, run: str, model: str, kind: str, grid: list[dict], fit: Callable, data: Prepared, command: str
) -> None:
    """Fit with each of the settings, keep the best by validation RMSE, write its record into an existing folder.

    Raises DataError where a keypoint has no label in any training row.
    """
    if np.isnan(data.manifest["mean_face"]).any():
        raise DataError(f"{data.folder}: a keypoint has no label in any training row")
    made_by = provenance("scikit-learn", command)
    start, start_cpu = time.perf_counter(), time.process_time()
    tried, best = [], None
    for settings in grid:
        fitted = fit(data.train.images, data.train.filled, **settings)
        val = predict(fitted, data.val)
        rmse = _rmse_px(val)
        tried.append({**settings, "val_rmse_px": None if np.isnan(rmse) else round(rmse, 4)})
        print(f"{', '.join(f'{name} {value}' for name, value in settings.items())}: validation RMSE {rmse:.3f} px")
        if best is None or rmse < best[0]:  # the first one where validation has no labels: NaN is never less
            best = rmse, settings, fitted, val
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    _, settings, fitted, val = best
    config = {
        "run": run,
        **about(data),
        "treatment": data.manifest["treatment"],
        "model": model,
        "baseline": True,
        "recipe": {"name": kind, **settings},
        "tried": tried,
        "seed": None,  # nothing is drawn
        "precision": "float32",
        "parameters": fitted.parameters,
        "train_faces": len(data.train),
        "train_seconds": round(seconds, 1),
        "train_cpu_seconds": round(cpu_seconds, 1),
        **made_by,
    }
    history = {"epoch": [], "loss": [], "val_loss": []}
    write_record(folder, config, history, val=val, test=predict(fitted, data.test))


def _rmse_px(predictions: Predictions) -> float:
    """Pooled over truly labelled coordinates, in pixels of the images; NaN where there are none."""
    errors = predictions.error[predictions.observed].astype(np.float64)
    return float(np.sqrt(np.mean(errors**2))) if errors.size else float("nan")
