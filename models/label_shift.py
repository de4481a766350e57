"""What a label source's labels are off by, as a whole: a shift in pixels for each source.

A network that learns faces and their mirror images alike cannot learn that a source puts every point a little to the
right: in the mirror image that is to the left, and the mean of both is where the point is. Its answers are then all
off by that shift, against labels of that source. In `kaggle15` it is 1.3 px for the second source (video stills) and
0.5 px for the first (`label_shift` in results/kaggle15/runs/dsnt-best-best-none-s0-mirrored-shifted/config.json, by
`python -m models.apply --mirrored --shifted`); why is not known, but labels that count pixels from 1 in larger pictures
would do that. The shift is the mean error on the validation faces (of training faces a network remembers some), and is
added back, as a Kaggle submission may, which is told each face's source. On a photo nobody asks for a source's habits,
and nothing is added.
"""

from dataclasses import replace

import numpy as np

from models.runs import Predictions


def shifts(known: Predictions) -> dict[int, np.ndarray]:
    """By source, float64 [2] in pixels: the labels' mean distance from the predictions, over labelled points."""
    found = {}
    for source in np.unique(known.sources):
        rows = known.sources == source
        found[int(source)] = -known.error[rows][known.observed[rows]].mean(axis=0, dtype=np.float64)
    return found


def shifted(predictions: Predictions, shifts: dict[int, np.ndarray]) -> Predictions:
    """The predictions, each face's moved by its source's shift; by none where its source has none."""
    none = np.zeros(2)
    moves = np.stack([shifts.get(int(source), none) for source in predictions.sources])[:, None].astype(np.float32)
    return replace(predictions, predicted=predictions.predicted + moves, error=predictions.error + moves)
