"""lenet5: the first convolutional network that went to work, on faces instead of digits.

LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 1998, section
II.B: two 5x5 convolutions without padding, each followed by subsampling, then layers of 120 and 84 units; tanh.
Departures: images of 96x96 instead of 32x32, so C5 sees 21x21 maps (as a dense layer, which it is in the paper too);
the outputs are linear, a regression, instead of radial basis functions; subsampling is a plain mean without weights
and squashing of its own; every map of C3 sees all maps before it; tanh is not stretched to 1.7; Glorot
initialisation.

    python -m models.lenet5 --data data/prepared/kaggle15-none --recipe quick
"""

import sys


def build(image_size, mean_face):
    """Gray images [B, H, W] in 0-255 -> keypoints [B, K, 2] in pixels; K is the length of `mean_face`."""
    from keras import Model, layers  # here, so that --help need not wait for Keras

    from models.layers import gray_input, keypoint_output

    images, x = gray_input(image_size)
    for block, filters in enumerate((6, 16), start=1):
        x = layers.Conv2D(filters, 5, activation="tanh", name=f"conv{block}")(x)
        x = layers.AveragePooling2D(2, name=f"pool{block}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(120, activation="tanh", name="hidden1")(x)
    x = layers.Dense(84, activation="tanh", name="hidden2")(x)
    return Model(images, keypoint_output(x, image_size, mean_face), name="lenet5")


if __name__ == "__main__":
    from models.trainer import main

    sys.exit(main("lenet5"))
