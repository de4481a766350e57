"""net2: four normalised convolutions, the first with only four maps, and dropout everywhere."""

import sys

BLOCKS = ((4, 5), (64, 3), (128, 3), (256, 3))  # filters, kernel size


def build(image_size, mean_face):
    """Gray images [B, H, W] in 0-255 -> keypoints [B, K, 2] in pixels; K is the length of `mean_face`."""
    from keras import Model, layers  # here, so that --help need not wait for Keras

    from models.layers import gray_input, keypoint_output

    images, x = gray_input(image_size)
    for block, (filters, size) in enumerate(BLOCKS, start=1):
        x = layers.Conv2D(filters, size, name=f"conv{block}")(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"normalise{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
        x = layers.Dropout(0.2, name=f"dropout{block}")(x)
    x = layers.Flatten(name="flatten")(x)
    for number, units in enumerate((1024, 256), start=1):
        x = layers.Dense(units, activation="relu", name=f"hidden{number}")(x)
        x = layers.Dropout(0.2, name=f"dropout{len(BLOCKS) + number}")(x)
    return Model(images, keypoint_output(x, image_size, mean_face), name="net2")


if __name__ == "__main__":
    from models.trainer import main

    sys.exit(main("net2"))
