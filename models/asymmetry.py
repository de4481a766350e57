"""What is not mirror-symmetric in a label source's labels: how far it puts each point to one side, in pixels.

Under augmentation with mirror images a network learns that faces know no left and right. Labels may: a source whose
labels lie a pixel to the right of where they should has them a pixel to the left in the mirror image. The network then
either answers with the mean of both, off by a pixel on every face, or learns to tell mirrored pictures from others,
which are two ways to lose. A recipe that is `symmetric` takes a source's asymmetry off the labels before training and
adds it to the answers for faces of that source; never for photos, which no source labels. What it is in `kaggle15`
stands in results/README.md.

It is estimated on training faces alone and needs no network. How far the points of a face lie from the image's middle
is, by symmetry, an odd function of the image (the mirror image's is the negative), plus the asymmetry, which is what is
left where the image says nothing. The odd function is a Gaussian process, its kernel the odd part of a squared
exponential one on small pixels; the asymmetry is its constant mean by generalised least squares (Rasmussen & Williams,
Gaussian Processes for Machine Learning, 2006, section 2.7, with one constant basis function and a vague prior). Where
more faces look to one side than to the other, the pixels do not tell all of it, and some tenths of that remain.
"""

from dataclasses import replace

import numpy as np

from data_prep.faceset import DataError, observed
from data_prep.prepared import Split
from data_prep.schema import SCHEMAS, Schema
from models.small_pixels import small_pixels

KEY = "label_asymmetry"  # in a config.json
# Chosen on kaggle15, where a trained network's two looks at validation faces are off by what this finds to 0.07 px
# (root mean square over points); at 24 and 32 pixels to 0.08, noise of 0.02 to 0.1 alike (trials that are not kept).
SIDE = 16  # pixels of the images that are compared
MOST = 4000  # faces of a source that are looked at: the time goes with the third power
FEWEST = 100  # labelled faces below which nothing is said of a point
NOISE = 0.05  # variance of the labels' noise; the kernel's is (1 - exp(-d)) / 2, some 0.27 on kaggle15


def of_labels(train: Split, schema: Schema) -> dict[int, np.ndarray]:
    """By source, float64 [K, 2] in pixels (x to the right, y down); 0 where labels are too few, as for a source's gaps.

    The points of a mirror pair have the same x and opposite y, one on the midline has no y: what two eyes are off by
    outwards is alike in the mirror image, so a network can learn it.
    """
    from threadpoolctl import threadpool_limits

    sources, found = np.asarray(train.sources), {}
    with threadpool_limits(1):  # more threads change the last bits; thousandths hide these from most trainings
        for source in np.unique(sources):
            found[int(source)] = np.zeros((len(schema), 2))
            rows = np.flatnonzero(sources == source)
            if len(rows) < FEWEST:
                continue
            if len(rows) > MOST:
                rows = np.sort(np.random.default_rng(0).choice(rows, MOST, replace=False))
            images = np.asarray(train.images[rows])
            lean = odd_part(np.asarray(train.keypoints[rows], np.float64), schema, images.shape[2])
            found[int(source)] = constant_mean(odd_kernel(images), lean).round(3)
    return found


def odd_part(keypoints: np.ndarray, schema: Schema, width: int) -> np.ndarray:
    """float64 [N, K, 2]: half of what labels differ by from their mirror image's, NaN where either has none."""
    mirrored = keypoints[:, schema.mirror].copy()
    mirrored[..., 0] = width - 1 - mirrored[..., 0]
    return (keypoints - mirrored) / 2


def odd_kernel(images: np.ndarray) -> np.ndarray:
    """float64 [N, N] of images uint8 [N, H, W]: covariances of a function that is odd under mirroring."""
    from sklearn.metrics.pairwise import euclidean_distances

    pixels = small_pixels(images, SIDE).astype(np.float64).reshape(len(images), SIDE, SIDE)
    mirrored = pixels[:, :, ::-1].reshape(len(images), -1)
    pixels = pixels.reshape(len(images), -1)
    same, other = (euclidean_distances(pixels, images, squared=True) for images in (pixels, mirrored))
    scale = max(np.median(same), np.finfo(float).tiny)  # of equal images all is alike, whatever it is
    return (np.exp(-same / scale) - np.exp(-other / scale)) / 2


def constant_mean(kernel: np.ndarray, values: np.ndarray) -> np.ndarray:
    """float64 [K, 2]: the mean of a process with this kernel [N, N] that has these values [N, K, 2], NaN where unseen.

    0 for points seen on fewer than `FEWEST` faces.
    """
    from scipy.linalg import cho_factor, cho_solve

    means = np.zeros(values.shape[1:])
    seen = observed(values)
    # Points that the same faces carry share one factorisation.
    patterns, pattern_of_point = np.unique(seen, axis=1, return_inverse=True)
    for pattern, rows in enumerate(patterns.T):
        if rows.sum() < FEWEST:
            continue
        points = np.flatnonzero(pattern_of_point.ravel() == pattern)
        factor = cho_factor(kernel[np.ix_(rows, rows)] + NOISE * np.eye(rows.sum()))
        weights = cho_solve(factor, np.ones(rows.sum()))
        means[points] = np.tensordot(weights / weights.sum(), values[np.ix_(rows, points)], axes=1)
    return means


def without(split: Split, asymmetry: dict[int, np.ndarray]) -> Split:
    """The split with labels from which their source's asymmetry is taken off."""
    off = moves(asymmetry, split.sources, split.keypoints.shape[1])
    return replace(split, keypoints=split.keypoints - off, filled=split.filled - off)


def moves(asymmetry: dict[int, np.ndarray], sources: np.ndarray, points: int) -> np.ndarray:
    """float32 [N, K, 2]: each face's source's asymmetry; 0 of a source that there is none of. sources: int [N]."""
    none = np.zeros((points, 2))
    found = [asymmetry.get(int(source), none) for source in np.asarray(sources)]
    return np.array(found, np.float32).reshape(-1, points, 2)


def of_config(config: dict, data_source: dict | None = None) -> dict[int, np.ndarray]:
    """What was taken off the labels that a run's network learned, as its config.json says; of none, nothing.

    data_source: of other faces, as in a manifest; of sources of another kind of file nothing is known.
    Raises DataError where config.json does not say it by source, for each of the schema's points.
    """
    if data_source and data_source.get("kind") != (config.get("data_source") or {}).get("kind"):
        return {}
    if KEY not in config:
        return {}
    points = len(SCHEMAS[config["schema"]])
    damaged = f"{KEY} in the config.json of {config.get('run')} is damaged; [{points}, 2] by source is accepted"
    try:
        found = {int(source): np.array(lean, dtype=np.float64) for source, lean in config[KEY].items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(damaged) from error
    if not all(lean.shape == (points, 2) and np.isfinite(lean).all() for lean in found.values()):
        raise DataError(damaged)
    return found


def for_config(asymmetry: dict[int, np.ndarray]) -> dict:
    """What to put into a config.json, for `of_config`; of no sources, nothing."""
    return {KEY: {str(source): points.tolist() for source, points in asymmetry.items()}} if asymmetry else {}
