"""efficientnet_b0: a network that knows ImageNet's photographs, taught keypoints (transfer learning).

Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, arXiv 1905.11946, as
`keras.applications` builds it, without its classifier; mean over the last maps, dropout 0.2 as in the paper.
Departures: gray images of 96x96, copied to three channels, instead of colour ones of 224x224, so the last maps are
3x3; batch normalisation with momentum 0.8 instead of 0.99, which would still hold the initial values after a hundred
steps; outputs that start a hundredth as large, so that an untrained head disturbs the backbone less.

    python -m models.efficientnet_b0 --weights imagenet --recipe head_first --data data/prepared/kaggle15-none
    python -m models.efficientnet_b0 --weights imagenet --recipe efficientnet --data data/prepared/kaggle15-none
    python -m models.efficientnet_b0 --data data/prepared/synthetic                 # from random weights: no transfer
    python -m models.efficientnet_b0 --weights runs/synthetic/RUN/model.keras --data data/prepared/kaggle15-none

`imagenet` is fetched by Keras; where there is no network, PATH names the file FILE_NAME, fetched by other means. PATH
may also be the `model.keras` of a run of this network, of any image size and number of keypoints: its backbone's
weights are taken, and the head starts anew. Without `--weights` nothing is fetched and nothing is transferred. The
run's name says which it was.
"""

import hashlib
import sys
from pathlib import Path

from data_prep.faceset import DataError
from models.runs import Run, read_run

# As `keras.applications` has them (keras 3.15.1).
FILE_NAME = "efficientnetb0_notop.h5"
URL = f"https://storage.googleapis.com/keras-applications/{FILE_NAME}"
MD5 = "50bc09e76180e00e4465e1a485ddc09d"
# Of the photographs' red, green and blue in 0-1; the network was trained on (value - mean) / deviation.
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

NAME, NONE = "efficientnet_b0", "no ImageNet"
OPTIONS = {
    "weights": {
        "default": "none",
        "metavar": "{imagenet,none,PATH}",
        "help": f"to start from: fetched by Keras, random, {FILE_NAME} or a run's model.keras (default: none)",
    }
}


def title(weights: str) -> str:
    """What runs and tables add to the network's name. Raises DataError for a file that does not exist."""
    if weights == "none":
        return NONE
    if weights == "imagenet" or (md5 := _md5(weights)) == MD5:
        return "ImageNet"
    if run := start(weights):
        before = run.config["model"].removeprefix(f"{NAME} (").removesuffix(")")
        return f"pre-trained on {run.config['data']}" if before == NONE else f"{before}, then {run.config['data']}"
    return f"{Path(weights).name}, md5 {md5[:8]}"


def start(weights: str) -> Run | None:
    """The run whose network the weights are of; None where they are of no run. Raises DataError for a damaged one."""
    path = Path(weights)
    is_of_run = path.name == "model.keras" and (path.parent / "config.json").is_file()
    return read_run(path.parent) if is_of_run else None


def build(image_size, mean_face, weights=OPTIONS["weights"]["default"]):
    """Gray images [B, H, W] in 0-255 -> keypoints [B, K, 2] in pixels; K is the length of `mean_face`.

    Raises DataError where the weights cannot be had or are not this network's.
    """
    from keras import Model, applications, layers  # here, so that --help need not wait for Keras

    from models.layers import gray_input, keypoint_output

    images, x = gray_input(image_size)
    x = layers.Concatenate(name="colour")([x, x, x])
    # From -1..1 to 255 times ImageNet's normalised colours, since the backbone divides by 255 itself.
    scale = [127.5 / deviation for deviation in IMAGENET_DEVIATION]
    offset = [(127.5 - 255 * mean) / d for mean, d in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)]
    x = layers.Rescaling(scale, offset, name="unit_to_imagenet")(x)
    backbone = applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(*image_size, 3), pooling="avg", name="backbone"
    )
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.8
    if Path(weights).suffix == ".keras":
        _load_run(backbone, Path(weights))
    elif weights != "none":
        _load(backbone, _fetched() if weights == "imagenet" else weights)
    x = layers.Dropout(0.2, name="dropout")(backbone(x))
    return Model(images, keypoint_output(x, image_size, mean_face, start=0.01), name=NAME)


def _fetched() -> str:
    """Path of the ImageNet weights in Keras' cache (~/.keras/models), fetched where they are not there yet."""
    from keras.utils import get_file

    try:
        return get_file(FILE_NAME, URL, cache_subdir="models", file_hash=MD5)
    except Exception as error:  # Keras raises plain ones, and whatever its HTTP library does
        raise DataError(
            f"the ImageNet weights could not be fetched; get {FILE_NAME} (md5 {MD5}) from {URL} by other means "
            "and name it with --weights PATH"
        ) from error


def _load(backbone, path: str) -> None:
    """Load a weights file of `keras.applications`' EfficientNetB0 without its top."""
    import numpy as np

    try:
        backbone.load_weights(path)
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        why = str(error).splitlines()[0][:200]
        raise DataError(
            f"{path} does not hold the weights of an EfficientNetB0 without top, in Keras' format ({why})"
        ) from error
    # The file also normalises colours: by the root of the deviation, which Keras divides by once more
    # (https://github.com/tensorflow/tensorflow/issues/49930). Here `unit_to_imagenet` has done all of it: weights
    # of a Normalization layer would be lost where a trainer copies them from network to network.
    normalisation = _normalisation(backbone)
    mean, variance, count = normalisation.get_weights()
    if not np.allclose([mean, variance], [IMAGENET_MEAN, IMAGENET_DEVIATION], atol=1e-3):
        raise DataError(f"{path} was trained on colours with another mean and deviation than ImageNet's")
    normalisation.set_weights([np.zeros_like(mean), np.ones_like(variance), count])
    normalisation.finalize_state()


def _load_run(backbone, path: Path) -> None:
    """Load the weights that a saved network of this module has in its backbone."""
    from models.apply import load_network

    trained = {layer.name: layer for layer in load_network(path).layers}.get(backbone.name)
    try:
        backbone.set_weights(trained.get_weights())
    except (AttributeError, ValueError) as error:  # it has none, or one of other layers
        raise DataError(f"{path} is not a network of models/{NAME}.py: its backbone does not fit") from error
    _normalisation(backbone).finalize_state()


def _normalisation(backbone):
    """The backbone's layer that normalises colours."""
    from keras import layers

    return next(layer for layer in backbone.layers if isinstance(layer, layers.Normalization))


def _md5(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except OSError as error:
        raise DataError(f"--weights is {path!r}; imagenet, none or a file of weights is accepted") from error


if __name__ == "__main__":
    from models.trainer import main

    sys.exit(main(NAME))
