"""The model's boundary: gray values in, pixels out. Between the two, network units, and nowhere else.

Both ends are made of Keras' own layers, so a saved model loads anywhere without this project's code.
"""

import numpy as np
from keras import Input, Model, initializers, layers, ops


def gray_input(image_size):
    """Input for gray images [B, H, W] in 0-255. Returns it and the network's input [B, H, W, 1] in -1 to 1."""
    images = Input(image_size, name="images")
    x = layers.Reshape((*image_size, 1), name="channel")(images)
    return images, layers.Rescaling(1 / 127.5, offset=-1.0, name="gray_to_unit")(x)


def keypoint_output(x, image_size, mean_face, start=1.0):
    """Dense output for keypoints [B, K, 2] in pixels: mean face + (width / 10) * network output, in float32.

    x: [B, F] features. mean_face: [K][2] pixels, the training set's, so that zero is the mean face and the
    network only has to learn how a face departs from it. Float32 whatever the policy: bfloat16 would round
    pixels to steps of 0.25 to 0.5.

    start: size of the initial weights, 1 being Glorot's. With a hundredth the untrained network answers with the mean
    face. Usual ones make the first steps mend what the outputs of all faces are off by, which kills units behind
    normalised features (models/net2.py), takes long behind strong dropout, and disturbs what a pre-trained backbone
    knows. Not zero: the layers before would get no gradient from the first step.
    """
    glorot = initializers.VarianceScaling(start**2, mode="fan_avg", distribution="uniform")
    x = layers.Dense(2 * len(mean_face), kernel_initializer=glorot, dtype="float32", name="outputs")(x)
    x = layers.Reshape((len(mean_face), 2), dtype="float32", name="points")(x)
    offset = [[float(value) for value in point] for point in mean_face]
    return layers.Rescaling(image_size[1] / 10, offset=offset, dtype="float32", name="keypoints")(x)


def centre_of_mass(maps, image_size):
    """Keypoints [B, K, 2] in pixels: the mean place of each map's softmax, in float32.

    maps: [B, h, w, K] of any values, a cell being H / h by W / w pixels of the image. A map that is even all over
    gives the image's centre. Nibali et al. 2018, arXiv 1801.07372, equations 2 and 4.
    """
    height, width, count = maps.shape[1:]
    x = layers.Reshape((height * width, count), dtype="float32", name="cells")(maps)
    x = layers.Permute((2, 1), dtype="float32", name="per_point")(x)
    x = layers.Softmax(dtype="float32", name="distribution")(x)
    places = initializers.Constant(cell_centres((height, width), image_size))
    mean = layers.Dense(2, use_bias=False, kernel_initializer=places, dtype="float32", name="keypoints")
    mean.trainable = False
    return mean(x)


def cell_centres(cells, image_size):
    """float32 [h * w, 2]: (x, y) in pixels of the centres of a grid of `cells` (h, w) over an image, row by row.

    The image reaches from -0.5 to W - 0.5: a cell of one pixel has the pixel's own place.
    """
    y, x = ((np.arange(n) + 0.5) * side / n - 0.5 for n, side in zip(cells, image_size, strict=True))
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)


def draws_maps(network) -> bool:
    """Whether a network ends in `centre_of_mass`."""
    return [layer.name for layer in network.layers[-2:]] == ["distribution", "keypoints"]


def with_maps(network):
    """The network with each map's softmax behind its keypoint: [B, K, 2 + cells]; the cells' places, a cell's width.

    places: float32 [cells, 2] in pixels; the width is in pixels, too. None for a network that does not end in
    `centre_of_mass`.
    """
    if not draws_maps(network):
        return None
    distribution, mean = network.layers[-2].output, network.layers[-1]
    places = np.asarray(mean.kernel)
    both = layers.Concatenate(dtype="float32", name="keypoints_and_maps")([mean(distribution), distribution])
    return Model(network.input, both, name=network.name), places, float(places[1, 0] - places[0, 0])


def with_spread(network):
    """The network with a second output, float32 [B, K]: how widely each map lies about its keypoint, in pixels.

    That is the distribution's standard deviation, the root of E|x - E x|^2; half of it in x where x and y are alike. A
    network that ends in `centre_of_mass` has one; None for any other.
    """
    if not draws_maps(network):
        return None
    distribution, mean = network.layers[-2].output, network.layers[-1]
    places = np.asarray(mean.kernel)
    middle = places.mean(axis=0)
    square = initializers.Constant(((places - middle) ** 2).sum(axis=1, keepdims=True))
    moment = layers.Dense(1, use_bias=False, kernel_initializer=square, dtype="float32", name="second_moment")
    moment.trainable = False
    keypoints = mean(distribution)
    variance = moment(distribution)[..., 0] - ops.sum(ops.square(keypoints - middle), axis=-1)
    return Model(network.input, [keypoints, ops.sqrt(ops.maximum(variance, 0.0))], name=network.name)
