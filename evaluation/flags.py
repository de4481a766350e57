"""Which networks have learned too little to be compared: no better than a baseline, or fallen onto the mean face."""

import numpy as np

from evaluation import metrics
from evaluation.entries import MEAN_FACE, Entry

COLLAPSE = "mean-face collapse"
# An RMSE this near the mean face's, relative to it, is the mean face's.
NEAR_MEAN_FACE = 0.10
# Predictions that move between faces by less than this share of what the true points do stand still.
LEAST_VARIATION = 0.10


def flags(entries: list[Entry]) -> dict[str, str]:
    """Flags of the trained networks that deserve one, by entry name. Baselines get none.

    `mean-face collapse` where the RMSE is within 10 % of the mean face's, or where the predictions move between faces
    by less than a tenth of what the true points do (`metrics.variation_px`, on labelled points). Else `worse than`
    each baseline whose RMSE the network does not undercut, on the points that both were scored on. Where there are
    baselines of the network's own treatment of missing points, only they are its rivals: better labels would win.
    """
    baselines = [entry for entry in entries if entry.is_baseline]
    found = {entry.name: _flag(entry, _rivals(entry, baselines)) for entry in entries if not entry.is_baseline}
    return {name: flag for name, flag in found.items() if flag}


def _rivals(entry: Entry, baselines: list[Entry]) -> list[Entry]:
    own = [b for b in baselines if b.config and b.config["treatment"] == entry.config["treatment"]]
    return [b for b in baselines if not b.config or b in own] if own else baselines


def _flag(entry: Entry, baselines: list[Entry]) -> str:
    worse = []
    for baseline in baselines:
        own, other = _rmse_on_common_points(entry, baseline)
        if baseline.model == MEAN_FACE and abs(own - other) <= NEAR_MEAN_FACE * other:
            return COLLAPSE
        if own >= other:
            worse.append(baseline.label)
    if _stands_still(entry):
        return COLLAPSE
    return f"worse than {' and '.join(sorted(worse))}" if worse else ""


def _rmse_on_common_points(a: Entry, b: Entry) -> tuple[float, float]:
    """The RMSE of each in pixels, on the points of the same test faces that both were scored on."""
    common = ~np.isnan(a.test.errors) & ~np.isnan(b.test.errors)
    return tuple(metrics.rmse_px(np.where(common, entry.test.errors, np.nan)) for entry in (a, b))


def _stands_still(entry: Entry) -> bool:
    """Whether predictions hardly vary between faces. Not said of one face, or of faces that do not vary either."""
    truth = entry.test.truth
    predicted = np.where(np.isnan(truth), np.nan, entry.test.predicted)
    moved = metrics.variation_px(truth)
    return moved > 0 and metrics.variation_px(predicted) < LEAST_VARIATION * moved
