"""The same network in each framework, as its users run it: what a worker of the benchmark asks.

The Keras side trains as `models.trainer` does; the PyTorch side does the same work as its users write it; ONNX Runtime
and LiteRT predict with the files that `inference.export` writes. Only the side that is asked for imports its framework.
"""

import math
import time

import numpy as np

from data_prep.faceset import DataError
from evaluation.benchmark_task import (
    AUGMENTATION,
    IMAGE_SIZE,
    PRODUCT_SIZE,
    Spec,
    random_faces,
    some_mean_face,
    usable_cores,
)


class KerasSide:
    """The network as the study trains it, on the backend that KERAS_BACKEND names."""

    def __init__(self, spec: Spec):
        from models.backend import import_keras

        keras = import_keras()
        from models.batch_norm import quicken
        from models.fitting import compile_network
        from models.losses import masked_mse
        from models.registry import parse

        self.spec, self.keras, self.loss = spec, keras, masked_mse
        keras.utils.set_random_seed(0)
        keras.mixed_precision.set_global_policy(spec.precision)
        self.build = parse(spec.model).build
        self.network = self.build(IMAGE_SIZE, some_mean_face())
        quicken(self.network)
        compile_network(keras, self.network, masked_mse, spec.learning_rate)
        self.matrix = product_matrix(keras, spec.precision)
        self.epoch_seconds = EpochSeconds(keras)

    def describe(self) -> dict:
        from evaluation.flops import forward_flops
        from models.provenance import provenance

        return {
            "parameters": self.network.count_params(),
            "flops": forward_flops(self.network),
            "threads": usable_cores(),
            **provenance(self.keras.backend.backend(), ""),
        }

    def train(self, images, keypoints, augmented: bool = False) -> float:
        """Seconds of one epoch of `fit`, without the set-up that a training pays once."""
        from data_prep.augment import PIPELINES, Pipeline
        from data_prep.schema import KAGGLE15
        from models.batches import Batches

        augment = Pipeline(PIPELINES[AUGMENTATION], KAGGLE15) if augmented else None
        batches = Batches(images, keypoints, self.spec.batch_size, seed=0, augment=augment)
        self.network.fit(batches, epochs=1, callbacks=[self.epoch_seconds.callback], verbose=2)
        return self.epoch_seconds.value

    def predict(self, images) -> np.ndarray:
        """The call that serves small and large batches well; `predict` adds tens of ms, `model(x)` is untraced."""
        return self.network.predict_on_batch(images)

    def product(self, calls: int) -> None:
        multiply(self.keras, self.matrix, calls)

    def export(self, path: str) -> dict:
        """A float32 copy's weights by name, a few faces and what it makes of them, as `.npz` for the twin."""
        self.keras.mixed_precision.set_global_policy("float32")
        network, rng, weights = self.build(IMAGE_SIZE, some_mean_face()), np.random.default_rng(3), {}
        for layer in network.layers:
            for variable in layer.weights:
                if len(variable.shape) == 1:  # biases start at 0 and variances at 1: swapped ones would not show
                    variable.assign(variable + rng.uniform(0, 0.2, variable.shape).astype(np.float32))
                weights[f"weight:{layer.name}.{variable.name}"] = np.asarray(variable)
        images, keypoints = random_faces(16)
        predicted = np.asarray(network.predict_on_batch(images))
        loss = float(self.loss(keypoints, predicted))
        np.savez(path, images=images, keypoints=keypoints, predicted=predicted, loss=loss, **weights)
        return {"parameters": network.count_params()}


def product_matrix(keras, precision: str):
    """What `matrix_product` multiplies by itself at a Keras policy."""
    kind = "bfloat16" if precision == "mixed_bfloat16" else "float32"
    values = np.random.default_rng(2).standard_normal((PRODUCT_SIZE, PRODUCT_SIZE), dtype=np.float32)
    return keras.ops.cast(values, kind)


def multiply(keras, matrix, calls: int) -> None:
    for _ in range(calls):
        result = keras.ops.matmul(matrix, matrix)
    float(keras.ops.cast(result[0, 0], "float32"))  # waits for a backend that works ahead


class EpochSeconds:
    """A callback that notes how long the last epoch took."""

    def __init__(self, keras):
        self.value = math.nan
        started = [0.0]

        def begin(epoch, logs=None):
            started[0] = time.perf_counter()

        def end(epoch, logs=None):
            self.value = time.perf_counter() - started[0]

        self.callback = keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end)


class TorchSide:
    """The twin: eager PyTorch on the CPU, channels-last layout, fused Adam, autocast for bfloat16."""

    def __init__(self, spec: Spec):
        import torch

        from evaluation import torch_twins
        from models.registry import parse

        name = spec.model.split(":")[0]
        if name not in torch_twins.TWINS:
            raise DataError(f"no PyTorch twin of {name!r} in evaluation/torch_twins.py")
        self.make = torch_twins.TWINS[name]
        self.options = parse(spec.model).options
        self.spec, self.torch, self.twins = spec, torch, torch_twins
        torch.manual_seed(0)
        torch.set_num_threads(spec.threads)
        self.network = self.build()
        # Keras' epsilon, so that the two take the same steps. Fused, and channels-last above: what is fastest here.
        self.optimizer = torch.optim.Adam(self.network.parameters(), spec.learning_rate, eps=1e-7, fused=True)
        kind = torch.bfloat16 if spec.precision == "mixed_bfloat16" else torch.float32
        self.matrix = torch.randn(PRODUCT_SIZE, PRODUCT_SIZE).to(kind)

    def build(self):
        twin = self.make(IMAGE_SIZE, some_mean_face(), **self.options)
        return twin.to(memory_format=self.torch.channels_last)

    def autocast(self):
        enabled = self.spec.precision == "mixed_bfloat16"
        return self.torch.autocast("cpu", dtype=self.torch.bfloat16, enabled=enabled)

    def describe(self) -> dict:
        return {
            "parameters": self.twins.count_parameters(self.network),
            "threads": self.torch.get_num_threads(),
            "backend": "torch",
            "versions": {"torch": self.torch.__version__},
        }

    def train(self, images, keypoints) -> float:
        """Seconds of one epoch, rows in a new order, loss and metric pooled over it as Keras reports them."""
        torch, batch = self.torch, self.spec.batch_size
        start = time.perf_counter()
        order = np.random.default_rng(0).permutation(len(images))
        total_loss = absolute = labelled = torch.zeros(())
        self.network.train()
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            x, labels = torch.from_numpy(images[rows]), torch.from_numpy(keypoints[rows])
            self.optimizer.zero_grad()
            with self.autocast():
                points = self.network(x)
            loss = self.twins.masked_mse(points, labels)
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                difference, mask = self.twins.masked_difference(points, labels)
                absolute, labelled = absolute + difference.abs().sum(), labelled + mask.sum()
                total_loss = total_loss + loss * len(rows)
        print(f"loss {total_loss.item() / len(order):.4f} mae {(absolute / labelled).item():.4f}")
        return time.perf_counter() - start

    def predict(self, images) -> np.ndarray:
        self.network.eval()
        with self.torch.inference_mode(), self.autocast():
            return self.network(self.torch.from_numpy(images)).numpy()

    def product(self, calls: int) -> None:
        for _ in range(calls):
            self.matrix @ self.matrix

    def check(self, path: str) -> dict:
        """How far a float32 twin with the exported weights is from the Keras model on the exported faces."""
        torch = self.torch
        with np.load(path) as file:
            arrays = dict(file)
        twin = self.build().eval()
        named = {name.removeprefix("weight:"): array for name, array in arrays.items() if name.startswith("weight:")}
        self.twins.copy_weights(twin, named)
        with torch.inference_mode():
            points = twin(torch.from_numpy(arrays["images"]))
            loss = self.twins.masked_mse(points, torch.from_numpy(arrays["keypoints"])).item()
        return {
            "parameters": self.twins.count_parameters(twin),
            "difference_px": float(np.abs(points.numpy() - arrays["predicted"]).max()),
            "loss_ratio": loss / float(arrays["loss"]),
        }


class FileSide:
    """A network that was written to a file, in the runtime that opens such: nothing but inference.

    backend: the runtime. package: whose version is told. most: images in a call. A subclass writes and opens the file.
    """

    backend, package, most = "", "", 16

    def __init__(self, spec: Spec):
        import tempfile
        from pathlib import Path

        from models.backend import import_keras
        from models.registry import parse

        import_keras()
        self.spec = spec
        with tempfile.TemporaryDirectory() as folder:
            network = parse(spec.model).build(IMAGE_SIZE, some_mean_face())
            path = self.written(network, Path(folder))
            self.run, self.run_on_one_thread = (self.opened(path, threads) for threads in (spec.threads, 1))
        images, _ = random_faces(self.most)
        self.difference_px = float(np.abs(self.predict(images) - network.predict_on_batch(images)).max())

    def describe(self) -> dict:
        from importlib.metadata import version

        return {
            "parameters": None,
            "threads": self.spec.threads,
            "backend": self.backend,
            "versions": {self.package: version(self.package)},
            "difference_px": self.difference_px,
        }

    def predict(self, images) -> np.ndarray:
        return self.run(images.astype(np.float32))

    def predict_on_one_thread(self, images) -> np.ndarray:
        return self.run_on_one_thread(images.astype(np.float32))


class OnnxSide(FileSide):
    """As `inference.export` writes it, in float32 or with convolutions of eight bits, in ONNX Runtime on the CPU."""

    backend = package = "onnxruntime"

    def written(self, network, folder):
        from models.onnx_files import POINTS, quantise, write

        path = folder / "network.onnx"
        write(network, path, {"points": " ".join(POINTS[len(some_mean_face())])})
        if self.spec.precision == "int8":
            quantise(path, random_faces(self.most)[0].astype(np.float32))
        return path

    def opened(self, path, threads):
        from models.onnx_files import open_session

        session = open_session(path, threads)
        return lambda images: session.run(None, {"images": images})[0]


class LitertSide(FileSide):
    """As `inference.export --format litert` writes it, in LiteRT on the CPU: one image at a time."""

    backend, package, most = "litert", "ai-edge-litert", 1

    def written(self, network, folder):
        from models.litert_files import write

        path = folder / "network.tflite"
        write(network, path)
        return path

    def opened(self, path, threads):
        from models.litert_files import open_runner

        return open_runner(path, threads)


SIDES = {"keras": KerasSide, "pytorch": TorchSide, "onnx": OnnxSide, "litert": LitertSide}
