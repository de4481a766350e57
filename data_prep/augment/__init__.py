"""Training faces changed at random, images and keypoints together.

`Pipeline(PIPELINES["standard"], schema)(images, keypoints, seed)` changes a batch; see pipeline.py for what a
pipeline does, geometry.py and pixels.py for its steps. `python -m data_prep.augment` draws a sheet of it.

The 68-point projects' step Normalize, which scales gray values and points to about -1 to 1, is none of these: both
ends of every network do it (models/layers.py), so that a network takes and gives pixels.
"""

from data_prep.augment.geometry import Flip, RandomCrop, Rescale, Rotate, Scale, Shift
from data_prep.augment.pipeline import Drawn, Pipeline
from data_prep.augment.pixels import Blur, Brightness, Contrast, Noise, Occlude

GEOMETRIC = (Flip(), Rotate(15), Scale(0.85, 1.15), Shift(6 / 96))

# Named ones, for recipes. Lengths are shares of the image but for blur, which is meant for 96x96 pixels.
PIPELINES: dict[str, tuple] = {
    "none": (),
    "standard": (*GEOMETRIC, Occlude(), Contrast(), Brightness(), Blur(), Noise()),
    "geometric": GEOMETRIC,
    # For small networks and short trainings, which the full strength only keeps from fitting.
    "mild": (Flip(), Rotate(5), Scale(0.95, 1.05), Shift(2 / 96), Contrast(0.85, 1.2), Brightness(15)),
    # Between the two, for networks of maps (models/dsnt.py) in half an hour.
    "medium": (Flip(), Rotate(10), Scale(0.9, 1.1), Shift(4 / 96), Contrast(0.8, 1.25), Brightness(20)),
    # The 68-point projects' Rescale(250), RandomCrop(224), as shares: their data has 224 pixels, other data has not.
    "rescale_crop": (Rescale(factor=250 / 224), RandomCrop(factor=224 / 250)),
}

__all__ = [
    "PIPELINES", "Drawn", "Pipeline",
    "Flip", "RandomCrop", "Rescale", "Rotate", "Scale", "Shift",
    "Blur", "Brightness", "Contrast", "Noise", "Occlude",
]  # fmt: skip
