"""net2: four normalised convolutions, the first with only four maps, and dropout everywhere.

The plan is of one of the public projects this study follows (PyTorch): convolutions of 4 (5x5), 64, 128 and 256 maps
(3x3) without padding, each with batch normalisation, ReLU, 2x2 max-pooling and dropout 0.2; at 96x96 the 4,096 values
that are left go through dense layers of 1024 and 256, each with ReLU and dropout 0.2.
Departures: outputs that start a hundredth as large; normalisation that remembers for three steps instead of ten
(momentum 0.7; the project's 0.1 is 0.9 in Keras), as in models/v1.py; Glorot initialisation instead of PyTorch's.

Why a quick port collapsed, found on 1,500 faces in two or three epochs (the mean face has 4.83 px): with outputs of
usual size 96 to 100 % of the last hidden units are dead after them and the validation RMSE is 4.83 px, at 1e-3, after
warm-up and at 1e-4, with momentum 0.9 and 0.99, in PyTorch's initialisation too (at 1e-5 it was on its way). With a
hundredth it is 3.13 px. Likely reason: an error that all faces share moves all 4,096 inputs of a unit, none negative,
one way, so a single step of Adam shifts it far. Momentum 0.99 alone then still shows 4.96 px, since the statistics lag:
the same weights with the validation faces' own statistics have 2.91 px.

    python -m models.net2 --data data/prepared/kaggle15-none --recipe quick
"""

import sys

BLOCKS = ((4, 5), (64, 3), (128, 3), (256, 3))  # filters, kernel size


def build(image_size, mean_face):
    """Gray images [B, H, W] in 0-255 -> keypoints [B, K, 2] in pixels; K is the length of `mean_face`."""
    from keras import Model, layers  # here, so that --help need not wait for Keras

    from models.layers import gray_input, keypoint_output

    images, x = gray_input(image_size)
    for block, (filters, size) in enumerate(BLOCKS, start=1):
        x = layers.Conv2D(filters, size, name=f"conv{block}")(x)
        x = layers.BatchNormalization(momentum=0.7, epsilon=1e-5, name=f"normalise{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
        x = layers.Dropout(0.2, name=f"dropout{block}")(x)
    x = layers.Flatten(name="flatten")(x)
    for number, units in enumerate((1024, 256), start=1):
        x = layers.Dense(units, activation="relu", name=f"hidden{number}")(x)
        x = layers.Dropout(0.2, name=f"dropout{len(BLOCKS) + number}")(x)
    return Model(images, keypoint_output(x, image_size, mean_face, start=0.01), name="net2")


if __name__ == "__main__":
    from models.trainer import main

    sys.exit(main("net2"))
