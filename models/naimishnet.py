"""naimishnet: four convolutions of shrinking size, dropout that grows from layer to layer.

Agarwal, Krohn-Grimberghe & Vyas, "Facial Key Points Detection using Deep Convolutional Neural Network - NaimishNet",
2017, arXiv 1710.00977: convolutions 4x4, 3x3, 2x2 and 1x1 without padding, ELU, 2x2 max-pooling, two dense layers of
1000, the second one linear; dropout 0.1 to 0.6; Glorot uniform initialisation of the dense layers.
Departures: one network for all keypoints instead of one for each; the convolutions, whose uniform initialisation the
paper leaves without a range, are Glorot uniform too; outputs that start a hundredth as large, for behind dropout of
0.6 the usual ones put the untrained network 10 px off (models/layers.py).

    python -m models.naimishnet --data data/prepared/kaggle15-none --recipe quick
"""

import sys

BLOCKS = ((32, 4, 0.1), (64, 3, 0.2), (128, 2, 0.3), (256, 1, 0.4))  # filters, kernel size, dropout


def build(image_size, mean_face):
    """Gray images [B, H, W] in 0-255 -> keypoints [B, K, 2] in pixels; K is the length of `mean_face`."""
    from keras import Model, layers  # here, so that --help need not wait for Keras

    from models.layers import gray_input, keypoint_output

    images, x = gray_input(image_size)
    for block, (filters, size, rate) in enumerate(BLOCKS, start=1):
        x = layers.Conv2D(filters, size, activation="elu", name=f"conv{block}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
        x = layers.Dropout(rate, name=f"dropout{block}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(1000, activation="elu", name="hidden1")(x)
    x = layers.Dropout(0.5, name="dropout5")(x)
    x = layers.Dense(1000, name="hidden2")(x)
    x = layers.Dropout(0.6, name="dropout6")(x)
    return Model(images, keypoint_output(x, image_size, mean_face, start=0.01), name="naimishnet")


if __name__ == "__main__":
    from models.trainer import main

    sys.exit(main("naimishnet"))
