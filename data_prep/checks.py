"""What was validated: the raw faces as read, and the arrays as prepared. Each check is a row of a CSV file."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.faceset import FaceSet, observed
from data_prep.label_noise import noise_floor
from data_prep.prepared import Split
from data_prep.split import split_sizes


@dataclass(frozen=True)
class Check:
    """One thing looked at. `passed` is None for a finding that is reported and not judged.

    may_fail: its failure is known of the data and stops nothing.
    """

    stage: str
    name: str
    found: str
    expected: str
    passed: bool | None
    may_fail: bool = False


def check_raw(faces: FaceSet, groups: np.ndarray, skipped: tuple[str, ...]) -> list[Check]:
    """Findings on faces as read; nothing here stops a run, what cannot be used was refused by the reader."""
    height, width = faces.images.shape[1:]
    x, y = faces.keypoints[..., 0], faces.keypoints[..., 1]
    outside = ((x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)).any(axis=1)
    flat = faces.images.reshape(len(faces), -1)
    blank = flat.min(axis=1) == flat.max(axis=1)
    unlabelled = ~faces.observed.any(axis=1)
    members = np.bincount(groups)
    far = far_from_mean(faces)
    return [
        Check("raw", "faces", str(len(faces)), "", None),
        Check("raw", "rows left out", _named(skipped), "0", not skipped),
        Check("raw", "faces without any label", _named(faces.ids[unlabelled]), "", None),
        Check("raw", "faces with a point outside the image", _named(faces.ids[outside]), "", None),
        Check("raw", "images of one single gray value", _named(faces.ids[blank]), "0", not blank.any()),
        Check("raw", "faces far from the mean face (look at these)", _named(faces.ids[far]), "", None),
        Check("raw", "faces in a group with others", str(int(members[members > 1].sum())), "", None),
        Check("raw", "largest group", str(int(members.max())), "", None),
        Check("raw", "label disagreement within equal images, px", _disagreement(faces), "", None),
    ]


def far_from_mean(faces: FaceSet) -> np.ndarray:
    """bool [N]: a point lies more than 5 robust standard deviations (1.4826 MAD) from its source's median."""
    far = np.zeros(len(faces), dtype=bool)
    for source in np.unique(faces.sources):
        rows = faces.sources == source
        points = faces.keypoints[rows].astype(np.float64)
        labelled = observed(points).any(axis=0)
        points = points[:, labelled]
        offset = np.abs(points - np.nanmedian(points, axis=0))
        spread = 1.4826 * np.nanmedian(offset, axis=0)
        far[rows] = (offset > 5 * np.maximum(spread, 1.0)).any(axis=(1, 2))
    return far


def check_prepared(splits: dict[str, Split], count: int, treatment: str, published: int = 0) -> list[Check]:
    """Shapes, ranges, gaps, counts and separation of the arrays as they will be written.

    published: how many faces the published test set has; its groups may be in the other splits. 0: split by group.
    """
    checks = []
    sizes = split_sizes(count)
    if published:
        val = split_sizes(count - published)["val"]
        sizes = {"train": count - published - val, "val": val, "test": published}
    # Groups are not parted, so of each source a split may miss its share by less than the largest group; training gets
    # the rest.
    slack = max(int(np.unique(split.groups, return_counts=True)[1].max()) for split in splits.values()) - 1
    slack *= len(np.unique(np.concatenate([split.sources for split in splits.values()])))
    for name, split in splits.items():
        n, k = split.observed.shape
        low = 1 if treatment == "drop" and name != "test" else sizes[name] - (slack if name != "train" else 0)
        high = sizes[name] + (2 * slack if name == "train" else 0)
        expected = f"{sizes[name]}, or {low} to {high}" if low < high else str(high)
        checks += [
            _judge(f"{name}: faces", n, expected, low <= n <= high),
            _judge(f"{name}: images", f"{split.images.dtype} {list(split.images.shape)}", f"uint8 [{n}, H, W]",
                   split.images.dtype == np.uint8 and split.images.ndim == 3),
            _judge(f"{name}: labels", f"{split.filled.dtype} {list(split.filled.shape)}",
                   f"float32 [{n}, {k}, 2]", split.filled.dtype == np.float32 and split.filled.shape == (n, k, 2)),
            _judge(f"{name}: observed = no NaN in the true labels", bool(
                (split.observed == observed(split.keypoints)).all()), "True",
                (split.observed == observed(split.keypoints)).all()),
            _judge(f"{name}: true labels kept by the treatment", *_same_where_observed(split)),
            _gaps(name, split, treatment),
        ]  # fmt: skip
    names = list(splits)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            shared = len(np.intersect1d(splits[a].groups, splits[b].groups))
            may_fail = bool(published) and b == "test"
            checks.append(_judge(f"{a}/{b}: shared groups", shared, "0", shared == 0, may_fail))
            equal = len(_pixel_keys(splits[a]) & _pixel_keys(splits[b]))
            checks.append(_judge(f"{a}/{b}: identical images", equal, "0", equal == 0, may_fail))
    sources = np.unique(np.concatenate([split.sources for split in splits.values()]))
    if len(sources) > 1:
        for name, split in splits.items():
            share = ", ".join(f"{s}: {np.mean(split.sources == s):.3f}" for s in sources)
            checks.append(Check("prepared", f"{name}: share of each label source", share, "balanced", None))
    return checks


def write_checks(path: Path, checks: list[Check]) -> None:
    """CSV with the columns stage, check, found, expected, result (empty: not judged)."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["stage", "check", "found", "expected", "result"])
        for c in checks:
            failed = "FAILED, as the published split does" if c.may_fail else "FAILED"
            result = "" if c.passed is None else "passed" if c.passed else failed
            writer.writerow([c.stage, c.name, c.found, c.expected, result])


def _judge(name: str, found, expected: str, passed, may_fail: bool = False) -> Check:
    return Check("prepared", name, str(found), expected, bool(passed), may_fail)


def _same_where_observed(split: Split) -> tuple[str, str, bool]:
    changed = int((split.filled[split.observed] != split.keypoints[split.observed]).any(axis=-1).sum())
    return f"{changed} changed", "0 changed", changed == 0


def _gaps(name: str, split: Split, treatment: str) -> Check:
    gaps = int((~observed(split.filled)).sum())
    if treatment == "none" or (treatment == "drop" and name == "test"):
        return Check("prepared", f"{name}: unlabelled points left", str(gaps), "", None)
    expected = "0; a point without any label cannot be filled in, --missing none leaves it"
    return _judge(f"{name}: unlabelled points left", gaps, "0" if gaps == 0 else expected, gaps == 0)


def _pixel_keys(split: Split) -> set[bytes]:
    return {image.tobytes() for image in split.images}


def _disagreement(faces: FaceSet) -> str:
    floor = noise_floor(faces)
    if floor is None:
        return "no equal images with a common label"
    return f"{floor['rmse_px']:.3f} per coordinate at 96x96 over {floor['pairs']} pairs"


def _named(items) -> str:
    """`3: 7, 12, 90`, at most twenty of them named."""
    items = [str(item) for item in items]
    more = ", ..." if len(items) > 20 else ""
    return f"{len(items)}: {', '.join(items[:20])}{more}" if items else "0"
