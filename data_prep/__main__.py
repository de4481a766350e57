"""`python -m data_prep`: read, check, analyse, group, split, fill, check again, write.

    python -m data_prep                                                    # embedded faces
    python -m data_prep --source kaggle --input training.zip               # the Kaggle set
    python -m data_prep --source youtube68 --download --size 224           # 68 points, 224x224 pixels

Writes arrays and a manifest to data/prepared/NAME and the data analysis to results/NAME/data.
"""

import argparse
import datetime
import platform
import re
import shlex
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

from data_prep import missing, more_labels, relatives
from data_prep.checks import check_prepared, check_raw
from data_prep.download import BY_HAND, download_kaggle, download_youtube68
from data_prep.faceset import DataError, FaceSet
from data_prep.grouping import METHODS, find_groups
from data_prep.label_noise import noise_floor
from data_prep.prepared import Split, refuse_foreign, refuse_public, write
from data_prep.schema import IBUG68, KAGGLE15
from data_prep.sources import Source, known
from data_prep.split import split_as_published, split_by_group

RAW = Path("data/raw")
SOURCES = ("synthetic", "kaggle", "youtube68", "pts")
SIZES = (32, 512)  # least and most pixels a side; 3,802 faces of 512x512 are 1 GB
SYNTHETIC_FACES = 7049  # as many as the Kaggle training set has
MOST_FACES = 100_000  # sampled at once; they are made in memory


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(argv)
    try:
        prepare(args)
    except (DataError, OSError) as error:
        print("data_prep: error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("data_prep: stopped", file=sys.stderr)
        return 130
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep",
        description="Read faces with keypoints, check and analyse them, split them 80/10/10, fill missing "
        "points, and write arrays for training.",
        epilog="examples: python -m data_prep | "
        "python -m data_prep --source kaggle --input training.zip --missing none --output data/prepared/k",
    )
    parser.add_argument("--source", choices=SOURCES, help="default: kaggle where data/raw/ has it, else synthetic")
    parser.add_argument("--input", type=Path, help="file or folder to read (synthetic needs none)")
    parser.add_argument("--output", type=Path, help="default: data/prepared/<source>")
    parser.add_argument(
        "--missing",
        choices=list(missing.TREATMENTS),
        default="ffill",
        help="; ".join(f"{k}: {v}" for k, v in missing.TREATMENTS.items()) + " (default: ffill)",
    )
    parser.add_argument("--more-labels", type=Path, metavar="PATH", help="of the Kaggle set's training rows that are "
                        "frames of the youtube68 set at PATH: its labels, too; goes with --missing none")  # fmt: skip
    parser.add_argument(
        "--schema",
        choices=("15", "68"),
        help="points of youtube68, pts, synthetic (default: what the source has, 15 for synthetic)",
    )
    parser.add_argument(
        "--count",
        type=int,
        default=SYNTHETIC_FACES,
        help="faces to sample (synthetic only; default: %(default)s)",
    )
    parser.add_argument("--size", type=int, default=96, help="pixels a side (youtube68, pts only; default: 96)")
    parser.add_argument(
        "--split",
        choices=("person", "published"),
        default="person",
        help="person: no person, or group of relatives, is in two splits (default); published: youtube68's own test "
        "folder, all of whose persons are also in training",
    )
    parser.add_argument("--download", action="store_true", help="fetch youtube68 (Udacity's zip) into data/raw/")
    parser.add_argument("--sha256", metavar="HEX", help="what the downloaded file must have")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of sampled faces (default: 0)")
    parser.add_argument(
        "--skip-bad-rows",
        action="store_true",
        help="leave rows that cannot be used out, name and count them",
    )
    parser.add_argument("--results", type=Path, help="where the data analysis goes (default: results/<name>/data)")
    parser.add_argument("--no-analysis", action="store_true", help="write no pictures and tables about the data")
    args = parser.parse_args(argv)
    if args.seed < 0 or not 10 <= args.count <= MOST_FACES:
        parser.error(f"--seed must be 0 or more and --count 10 to {MOST_FACES:,}")
    if args.source == "synthetic" and args.input is not None:
        parser.error("--source synthetic reads no --input")
    if args.more_labels is not None and args.missing != "none":
        parser.error("--more-labels fills nothing in; it goes with --missing none")
    if not SIZES[0] <= args.size <= SIZES[1]:
        parser.error(f"--size {args.size}; accepted: {SIZES[0]} to {SIZES[1]}")
    if args.download and (args.source != "youtube68" or args.input is not None):
        parser.error("--download is for --source youtube68 without --input")
    if args.sha256 is not None and not (args.download and re.fullmatch("[0-9a-fA-F]{64}", args.sha256)):
        parser.error("--sha256 takes 64 hexadecimal digits and goes with --download")
    args.command = shlex.join(["python", "-m", "data_prep", *(sys.argv[1:] if argv is None else argv)])
    return args


def prepare(args: argparse.Namespace) -> None:
    kind, path = choose_source(args)
    if kind == "kaggle" and args.schema == "68":
        raise DataError("the Kaggle set has 15 points; --schema 68 needs --source youtube68, pts or synthetic")
    if kind in ("kaggle", "synthetic") and args.size != 96:
        raise DataError(f"faces of {kind} are 96x96 pixels; --size {args.size} needs --source youtube68 or pts")
    if kind != "youtube68" and args.split == "published":
        raise DataError(f"{kind} has no published split; --split published needs --source youtube68")
    if kind != "kaggle" and args.more_labels is not None:
        raise DataError(f"--more-labels is for --source kaggle, not {kind}")
    output = args.output or Path("data/prepared") / default_name(kind, args)
    refuse_foreign(output)  # before minutes are spent
    if args.results is not None and not args.no_analysis:
        check_results(args.results, output, public=kind == "synthetic")
    source = read_source(kind, path, args)
    faces = source.faces
    groups, method = find_groups(source)
    checks = check_raw(faces, groups, source.skipped)
    for problem in source.skipped:
        print(f"left out: {problem}", file=sys.stderr)

    rows = choose_rows(args, faces, groups)
    more = None
    if args.more_labels is not None:
        from data_prep.sources import youtube_faces

        frames = youtube_faces.read(args.more_labels, size=224, skip_bad_rows=args.skip_bad_rows)
        for problem in frames.skipped:
            print(f"left out of --more-labels: {problem}", file=sys.stderr)
        faces, counts = more_labels.add(faces, rows, frames.faces)
        more = {"path": str(args.more_labels), "sha256": frames.sha256, **counts}
        print(more_labels.in_words(counts))
    splits = fill_splits(faces, groups, rows, args.missing)
    checks += check_prepared(splits, len(faces), args.missing, len(rows["test"]) if args.split == "published" else 0)

    for check in checks:
        if check.stage == "prepared" and check.passed is False and not check.may_fail:
            raise DataError(f"check failed: {check.name}: found {check.found}, expected {check.expected}")

    # data/prepared/kaggle-none and data/prepared/kaggle are one data set under two treatments: same name
    treatment = more_labels.TREATMENT if more else args.missing
    name = output.resolve().name.removesuffix(f"-{treatment}")
    manifest = describe(args, name, kind, path, source, splits)
    if more:
        manifest |= {"treatment": treatment, "more_labels": more}
    manifest["grouping"] = {
        "method": method,
        "groups": int(groups.max() + 1),
        "largest": int(np.bincount(groups).max()),
        "similarity": relatives.SIMILARITY if method == "relatives" else None,
    }
    if args.split == "published":
        manifest["grouping"] |= {"split": "published", "shared_groups": shared_groups(splits)}
        print(shared_in_words(splits), file=sys.stderr)
    if floor := noise_floor(source.faces):
        manifest["noise_floor"] = {**floor, "simulated": kind == "synthetic" or known.simulated(source.sha256)}
    manifest["mean_face"] = missing.mean_face(faces.keypoints[rows["train"]]).round(4).tolist()
    write(output, splits, manifest)
    if method == "equal pixels":
        print(f"warning: grouped by {METHODS[method]}", file=sys.stderr)
    if note := manifest["source"]["note"]:
        print(f"note: {note}")
    print(f"{output}: " + ", ".join(f"{len(split)} {name}" for name, split in splits.items()) + " faces")

    if not args.no_analysis:
        from data_prep.explore import explore  # matplotlib takes half a second to import

        results = args.results or Path("results") / name / "data"
        explore(results, faces, splits, checks, embedded=kind == "synthetic")
        print(f"{results}: data analysis")


def check_results(results: Path, output: Path, public: bool) -> None:
    """Raise DataError where the analysis cannot go to `results`. public: whether anybody may see the faces."""
    if results.exists() and not results.is_dir():
        raise DataError(f"--results {results} is a file; a folder is accepted")
    if results.resolve() == output.resolve():
        raise DataError(f"--results {results} is the folder of the prepared data; name another")
    if not public:
        refuse_public(results.parent / "faces" / "samples.png", "--results")


def default_name(kind: str, args: argparse.Namespace) -> str:
    """Of the output folder: the source, and what of it is not as usual: `youtube68-224-published-none`."""
    unusual = {
        str(args.size): args.size != 96,
        args.split: args.split != "person",
        args.missing: args.missing != "ffill" and args.more_labels is None,
        more_labels.TREATMENT: args.more_labels is not None,
    }
    return "-".join([kind, *(word for word, is_unusual in unusual.items() if is_unusual)])


def choose_rows(args: argparse.Namespace, faces: FaceSet, groups: np.ndarray) -> dict[str, np.ndarray]:
    """Row positions of each split."""
    if args.split == "person":
        return split_by_group(groups, faces.sources, args.seed)
    from data_prep.sources.youtube_faces import in_published_test

    in_test = in_published_test(faces.ids)
    if in_test.all() or not in_test.any():
        raise DataError("no usable face in training/ or in test/: nothing is left of the published split")
    return split_as_published(in_test, groups, faces.sources, args.seed)


def shared_groups(splits: dict[str, Split]) -> dict[str, int]:
    """How many groups of the test faces are also in training, and in validation."""
    return {name: len(np.intersect1d(splits[name].groups, splits["test"].groups)) for name in ("train", "val")}


def shared_in_words(splits: dict[str, Split]) -> str:
    tested = np.unique(splits["test"].groups)
    seen = np.isin(tested, np.concatenate([splits["train"].groups, splits["val"].groups])).sum()
    shared = shared_groups(splits)
    return (
        f"warning: the published split shares persons: {seen} of the {len(tested)} in test are also in training "
        f"({shared['train']}) or validation ({shared['val']}), so its score measures memory of people too"
    )


def choose_source(args: argparse.Namespace) -> tuple[str, Path | None]:
    """Which source, and the path to read (None: embedded faces)."""
    if args.source == "synthetic":
        return "synthetic", None
    if args.source in ("youtube68", "pts"):
        if args.download:
            return args.source, download_youtube68(RAW, args.sha256)
        if args.input is None:
            download = " or --download" if args.source == "youtube68" else ""
            raise DataError(f"--source {args.source} needs --input PATH{download}")
        return args.source, args.input
    if args.input is not None:
        return "kaggle", args.input
    from data_prep.sources import kaggle

    if RAW.is_dir() and kaggle.holds(RAW):
        return "kaggle", RAW
    if args.source == "kaggle":
        return "kaggle", download_kaggle()
    print(f"no --source and nothing in {RAW}/: using the embedded faces (for the Kaggle set, {BY_HAND})")
    return "synthetic", None


def read_source(kind: str, path: Path | None, args: argparse.Namespace) -> Source:
    schema = {"15": KAGGLE15, "68": IBUG68, None: KAGGLE15 if kind == "synthetic" else IBUG68}[args.schema]
    if kind == "synthetic":
        from data_prep.sources import sha256_of
        from data_prep.synthetic.model import MODEL_FILE
        from data_prep.synthetic.sampler import sample

        faces = sample(args.count, args.seed, schema=schema)
        return Source(faces=faces, sha256=sha256_of([MODEL_FILE]), persons_known=True)
    if kind == "kaggle":
        from data_prep.sources import kaggle

        return kaggle.read(path, skip_bad_rows=args.skip_bad_rows)
    if kind == "youtube68":
        from data_prep.sources import youtube_faces

        return youtube_faces.read(path, schema=schema, size=args.size, skip_bad_rows=args.skip_bad_rows)
    from data_prep.sources import pts_folder

    return pts_folder.read(path, schema=schema, size=args.size, skip_bad_rows=args.skip_bad_rows)


def fill_splits(faces: FaceSet, groups: np.ndarray, rows: dict[str, np.ndarray], treatment: str) -> dict[str, Split]:
    """Apply the treatment: train rows teach it, `drop` thins train and validation, test stays whole."""
    train = faces.keypoints[rows["train"]]
    splits = {}
    for name, positions in rows.items():
        truth = faces.keypoints[positions]
        train_filled, filled = missing.fill(treatment, train, rows["train"], truth, positions)
        keep = missing.kept(treatment, truth) if name != "test" else np.ones(len(truth), dtype=bool)
        if not keep.any():
            raise DataError(f"--missing {treatment} leaves no face in {name}: none has all its points labelled")
        part = faces.take(positions[keep])
        splits[name] = Split(
            images=part.images,
            keypoints=part.keypoints,
            filled=(train_filled if name == "train" else filled)[keep],
            observed=part.observed,
            groups=groups[positions[keep]],
            ids=part.ids,
            sources=part.sources,
        )
    return splits


def describe(
    args: argparse.Namespace, name: str, kind: str, path: Path | None, source: Source, splits: dict[str, Split]
) -> dict:
    """The manifest: where the arrays come from and what was done to them."""
    faces = source.faces
    return {
        "name": name,
        "source": {
            "kind": kind,
            "path": None if path is None else str(path),
            "sha256": source.sha256,
            "note": known.note(source.sha256),
        },
        "schema": {"name": faces.schema.name, "points": list(faces.schema.points)},
        "image_size": list(faces.images.shape[1:]),
        "treatment": args.missing,
        "seed": args.seed,
        "faces": {name: len(split) for name, split in splits.items()},
        "complete_faces": {name: int(split.observed.all(axis=1).sum()) for name, split in splits.items()},
        "labelled_points": {name: int(split.observed.sum()) for name, split in splits.items()},
        "skipped": list(source.skipped),
        "command": args.command,
        "versions": {"python": platform.python_version(), "numpy": version("numpy")},
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


if __name__ == "__main__":
    sys.exit(main())
