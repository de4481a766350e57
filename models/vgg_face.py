"""vgg_face: thirteen 3x3 convolutions in five blocks, the network of VGG-Face, at a width that two cores can train.

Parkhi, Vedaldi & Zisserman, "Deep Face Recognition", BMVC 2015: VGG-16 (configuration D of Simonyan & Zisserman 2015,
arXiv 1409.1556) on faces; blocks of 64, 128, 256, 512 and 512 maps, two dense layers of 4096 with dropout 0.5, ReLU.
Departures: every layer has `width` times as many units, a quarter unless asked otherwise; images of 96x96 instead of
224x224, so the last maps are 3x3; trained from random weights on keypoints, not on the authors' 2.6 million faces;
He initialisation instead of Gaussians of deviation 0.01, from which thirteen layers do not start to learn.

    python -m models.vgg_face --data data/prepared/kaggle15-none --recipe quick
    python -m models.vgg_face --data data/prepared/kaggle15-none --recipe quick --width 1    # as published; for a GPU
"""

import math
import sys

from data_prep.faceset import DataError

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # filters, convolutions
OPTIONS = {
    "width": {"type": float, "default": 0.25, "help": "units per layer, 1 being the published network (default: 0.25)"}
}


def title(width: float) -> str:
    """What runs and tables add to the network's name. Raises DataError for a width that leaves no units."""
    if not 1 / 64 <= width < math.inf:
        raise DataError(f"--width is {width:g}; 1/64 (0.015625) or more is accepted")
    return f"width {width:g}"


def build(image_size, mean_face, width=OPTIONS["width"]["default"]):
    """Gray images [B, H, W] in 0-255 -> keypoints [B, K, 2] in pixels; K is the length of `mean_face`."""
    from keras import Model, layers  # here, so that --help need not wait for Keras

    from models.layers import gray_input, keypoint_output

    relu = {"activation": "relu", "kernel_initializer": "he_normal"}
    images, x = gray_input(image_size)
    for block, (filters, convolutions) in enumerate(BLOCKS, start=1):
        for number in range(1, convolutions + 1):
            x = layers.Conv2D(round(width * filters), 3, padding="same", name=f"conv{block}_{number}", **relu)(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    x = layers.Flatten(name="flatten")(x)
    for number in (1, 2):
        x = layers.Dense(round(width * 4096), name=f"hidden{number}", **relu)(x)
        x = layers.Dropout(0.5, name=f"dropout{number}")(x)
    return Model(images, keypoint_output(x, image_size, mean_face), name="vgg_face")


if __name__ == "__main__":
    from models.trainer import main

    sys.exit(main("vgg_face"))
