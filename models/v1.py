"""v1: deeper than base, and regularised.

Five 3x3 convolutions down to maps of 6x6, so the dense part is half of base's and looks at parts of a
face instead of at pixels; dropout in front of both dense layers; batch normalisation (Ioffe & Szegedy 2015)
behind the last convolution.

Why normalise only there: in trials (no runs of them are kept) normalising behind every convolution made this
network clearly worse under `quick`, and at 96x96 and 48x48 it nearly doubled the training time.

    python -m models.v1 --data data/prepared/kaggle15 --recipe quick        # under 3 minutes on 2 cores
    python -m models.v1 --data data/prepared/kaggle15 --recipe reference    # 32 minutes

Scores: results/kaggle15/summary.csv. A training step takes 1.36 times base's (results/benchmark/speed.csv,
mixed_bfloat16).
"""

import sys


def build(image_size, mean_face):
    """Gray images [B, H, W] in 0-255 -> keypoints [B, K, 2] in pixels; K is the length of `mean_face`."""
    from keras import Model, layers  # here, so that --help need not wait for Keras

    from models.layers import gray_input, keypoint_output

    images, x = gray_input(image_size)
    for block, filters in enumerate((16, 32, 64, 128), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{block}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    x = layers.Conv2D(128, 3, padding="same", activation="relu", name="conv5")(x)
    # A batch holds thousands of map positions, so a few batches give good averages; Keras' default momentum of
    # 0.99 would still hold the initial values after a hundred steps.
    x = layers.BatchNormalization(momentum=0.7, name="normalise")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dropout(0.3, name="dropout1")(x)
    x = layers.Dense(256, activation="relu", name="hidden")(x)
    x = layers.Dropout(0.1, name="dropout2")(x)
    return Model(images, keypoint_output(x, image_size, mean_face), name="v1")


if __name__ == "__main__":
    from models.trainer import main

    sys.exit(main("v1"))
