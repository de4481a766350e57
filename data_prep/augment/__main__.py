"""`python -m data_prep.augment`: a sheet that shows what a pipeline does to training faces.

python -m data_prep.augment --data data/prepared/synthetic --pipeline standard
"""

import argparse
import os
import sys
from pathlib import Path

from data_prep.augment import PIPELINES, Pipeline
from data_prep.faceset import DataError
from data_prep.prepared import Prepared, embedded, load, refuse_public

DPI = 110
MOST = 50  # faces, or draws of each, on a sheet


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        data = load(args.data)
        output = args.output or default_output(data)
        check_output(output, data)
        draw(data, args, output)
    except (DataError, OSError) as error:
        print("data_prep.augment: error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("data_prep.augment: stopped", file=sys.stderr)
        return 130
    print(f"written: {output}")
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.augment",
        description="Draw a sheet of training faces, changed at random by an augmentation pipeline, with their points, "
        "and the points mapped back onto the original.",
    )
    parser.add_argument("--data", type=Path, default=Path("data/prepared/synthetic"), help="default: %(default)s")
    parser.add_argument("--pipeline", choices=list(PIPELINES), default="standard", help="default: standard")
    parser.add_argument("--faces", type=int, default=4, help="rows of the sheet (default: %(default)s)")
    parser.add_argument("--draws", type=int, default=5, help="changed images of each face (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--output", type=Path, help="PNG (default: results/<name>/augmentation.png for embedded faces, "
                        "results/<name>/faces/augmentation.png for others)")  # fmt: skip
    args = parser.parse_args(argv)
    if not (1 <= args.faces <= MOST and 1 <= args.draws <= MOST and args.seed >= 0):
        parser.error(f"--faces and --draws must be 1 to {MOST}, --seed 0 or more")
    return args


def default_output(data: Prepared) -> Path:
    return Path("results") / data.name / ("" if embedded(data.manifest.get("source")) else "faces") / "augmentation.png"


def check_output(output: Path, data: Prepared) -> None:
    if output.suffix != ".png":
        raise DataError(f"--output {output}: a .png file is accepted")
    if not embedded(data.manifest.get("source")):
        refuse_public(output)


def draw(data: Prepared, args: argparse.Namespace, output: Path) -> None:
    from data_prep.augment.sheet import choose, sheet

    rows = choose(data.train, args.faces)
    pipeline = Pipeline(PIPELINES[args.pipeline], data.schema)
    figure = sheet(data.train.images[rows], data.train.keypoints[rows], pipeline, args.pipeline, args.draws, args.seed)
    output.parent.mkdir(parents=True, exist_ok=True)
    aside = output.with_name(output.name + ".partial")
    try:
        figure.savefig(aside, format="png", dpi=DPI, metadata={"Software": None})
        os.replace(aside, output)
    finally:
        aside.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
