"""base: a plain small CNN, the study's starting point.

Three 3x3 convolutions with ReLU, each followed by 2x2 max-pooling, a hidden dense layer, a dense output: the
network most tutorials on this data set begin with (Nouri, "Using convolutional neural nets to detect facial
keypoints", 2014, net2), at a width that trains in minutes on two cores. Nothing regularises it.

    python -m models.base --data data/prepared/kaggle15 --recipe quick        # under 2 minutes on 2 cores
    python -m models.base --data data/prepared/kaggle15 --recipe reference    # 30 minutes, the machine shared

Scores: results/kaggle15/summary.csv.
"""

import sys


def build(image_size, mean_face):
    """Gray images [B, H, W] in 0-255 -> keypoints [B, K, 2] in pixels; K is the length of `mean_face`."""
    from keras import Model, layers  # here, so that --help need not wait for Keras

    from models.layers import gray_input, keypoint_output

    images, x = gray_input(image_size)
    for block, filters in enumerate((16, 32, 64), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{block}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(256, activation="relu", name="hidden")(x)
    return Model(images, keypoint_output(x, image_size, mean_face), name="base")


if __name__ == "__main__":
    from models.trainer import main

    sys.exit(main("base"))
