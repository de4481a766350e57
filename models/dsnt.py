"""dsnt: a small residual U-Net that draws a map for each keypoint and answers with the map's centre of mass.

Nibali, He, Morgan & Prendergast, "Numerical Coordinate Regression with Convolutional Neural Networks", 2018 (arXiv
1801.07372), also known as soft-argmax: a map of 24x24 cells becomes a distribution by a softmax, and the keypoint is
its mean, so that the error in pixels trains the whole; the recipe `best` also asks it to be a Gaussian about the label.
The maps come from residual blocks (He et al. 2016, arXiv 1512.03385) at 24, 12 and 6 cells, added up again from coarse
to fine (Lin et al. 2017, arXiv 1612.03144). Departures: few channels; nothing but the first convolution at 48 cells,
where a CPU spends its time on memory; batch normalisation with momentum 0.8 instead of 0.99, which would still hold the
initial values after a hundred steps.

    python -m models.dsnt --data data/prepared/kaggle15-none --recipe best
    python -m models.dsnt --data data/prepared/kaggle15-none --recipe best --size tiny

| size | parameters | MFLOP a face |
|---|---|---|
| best | 0.89 million | 182 |
| small | 0.27 million | 53 |
| tiny | 0.07 million | 14 |

(With 17 outputs, as on the Kaggle set: models/label_rules.py.)
"""

import sys

from data_prep.faceset import DataError

# Channels at 48, 24, 12 and 6 cells and in the decoder; then residual blocks at 24, 12 and 6 cells.
SIZES = {
    "best": ((20, 40, 80, 128, 48), (1, 2, 2)),
    "small": ((12, 20, 44, 72, 24), (1, 2, 2)),
    "tiny": ((8, 12, 24, 40, 12), (1, 1, 2)),
}
OPTIONS = {"size": {"default": "best", "help": f"{', '.join(SIZES)}: accuracy against time (default: best)"}}
STEP = 16  # the image's sides are multiples of it, since the coarsest maps have a 16th of them


def title(size: str) -> str:
    """What runs and tables add to the network's name. Raises DataError for a size that there is not."""
    if size not in SIZES:
        raise DataError(f"--size is {size!r}; accepted: {', '.join(SIZES)}")
    return size


def build(image_size, mean_face, size=OPTIONS["size"]["default"]):
    """Gray images [B, H, W] in 0-255 -> keypoints [B, K, 2] in pixels; K is the length of `mean_face`.

    Raises DataError where H or W is not a multiple of 16.
    """
    from keras import Model, layers  # here, so that --help need not wait for Keras

    from models.layers import centre_of_mass, gray_input

    if any(side % STEP for side in image_size):
        raise DataError(f"dsnt takes images whose sides are multiples of {STEP}, not {image_size[0]}x{image_size[1]}")

    def normalised(x, filters, kernel, stride=1, name=None, relu=True):
        x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(momentum=0.8, name=f"{name}_norm")(x)
        return layers.Activation("relu", name=f"{name}_relu")(x) if relu else x

    def residual(x, filters, stride, name):
        inner = normalised(x, filters, 3, stride, f"{name}_a")
        inner = normalised(inner, filters, 3, 1, f"{name}_b", relu=False)
        if x.shape[-1] != filters:
            x = normalised(x, filters, stride, stride, f"{name}_skip", relu=False)
        return layers.Activation("relu", name=name)(layers.Add(name=f"{name}_sum")([x, inner]))

    (stem, *stages, decoder), depths = SIZES[size]
    images, x = gray_input(image_size)
    x = normalised(x, stem, 5, 2, "stem")
    x = normalised(x, stages[0], 3, 2, "entry")
    finer = []
    for stage, (filters, blocks) in enumerate(zip(stages, depths, strict=True), start=1):
        for block in range(1, blocks + 1):
            x = residual(x, filters, 2 if stage > 1 and block == 1 else 1, f"stage{stage}_{block}")
        finer.append(x)

    x = layers.Conv2D(decoder, 1, name="lateral3")(finer.pop())
    for level in (2, 1):
        x = layers.UpSampling2D(2, name=f"up{level}")(x)
        x = layers.Add(name=f"merge{level}")([x, layers.Conv2D(decoder, 1, name=f"lateral{level}")(finer.pop())])
        x = normalised(x, decoder, 3, 1, f"decode{level}")
    maps = layers.Conv2D(len(mean_face), 1, dtype="float32", name="maps")(x)
    return Model(images, centre_of_mass(maps, image_size), name="dsnt")


if __name__ == "__main__":
    from models.trainer import main

    sys.exit(main("dsnt"))
