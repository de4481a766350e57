"""What the benchmark measures: the kinds, what a worker is told to build, the faces, the cores."""

import os
from dataclasses import dataclass

import numpy as np

TRAINING, INFERENCE, SINGLE, PRODUCT = "training", "inference", "single_face", "matrix_product"
ONE_THREAD = "single_face_one_thread"  # the same on one core; of the runtimes that can be asked for it
AUGMENTED = "training_augmented"  # the same, through the pipeline AUGMENTATION; Keras only, for it is this study's
KINDS = (TRAINING, AUGMENTED, INFERENCE, SINGLE, ONE_THREAD, PRODUCT)
AUGMENTATION = "standard"
IMAGE_SIZE, POINTS = (96, 96), 15
PRODUCT_SIZE = 2048  # of the square matrices: large enough for full speed, small enough for any machine
MOST_FACES = 5639  # in one measurement of training: an epoch of the study's training set
MOST_CALLS = 10_000
BUSY = 0.05  # share of the machine's CPU time that other programs may use
WITHOUT_TWIN = {  # networks that evaluation/torch_twins.py leaves out, and why
    "efficientnet_b0": "its 240 layers are the library's, in Keras as in torchvision: a copy by hand would be neither"
}


@dataclass(frozen=True)
class Spec:
    """What a worker builds and how it measures."""

    framework: str  # keras, pytorch, onnx or litert
    model: str  # with its options, as `models.registry.parse` reads it
    precision: str  # float32 or mixed_bfloat16, or int8 with onnx
    threads: int
    batch_size: int  # in training
    inference_batch: int
    learning_rate: float
    seconds: float  # a measurement should take
    batches: int | None  # fixed number of batches per measurement instead


def random_faces(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise in the shape of faces: images uint8 [N, 96, 96], keypoints float32 [N, 15, 2], a quarter unlabelled."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *IMAGE_SIZE), dtype=np.uint8)
    keypoints = rng.uniform(0, 95, (count, POINTS, 2)).astype(np.float32)
    keypoints[rng.random((count, POINTS)) < 0.25] = np.nan
    return images, keypoints


def some_mean_face() -> np.ndarray:
    """float64 [15, 2] pixels; any will do, the same on both sides."""
    return np.random.default_rng(1).uniform(20, 76, (POINTS, 2))


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
