"""Training faces changed at random, images and keypoints together."""

from data_prep.augment.pipeline import Pipeline

# Named ones, for recipes.
PIPELINES: dict[str, tuple] = {"none": ()}

__all__ = ["PIPELINES", "Pipeline"]
