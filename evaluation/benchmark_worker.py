"""One network in one framework at one precision, in a process of its own that `evaluation.benchmark` asks.

A request is a line of JSON on stdin, the answer a line on stdout; between requests the process waits and uses no
CPU, so that no two frameworks' threads ever compete. The first line says what to build (`Spec`). The Keras side
trains as `models.trainer` does; the PyTorch side does the same work as its users write it. Only the side that is
asked for imports its framework.
"""

import json
import math
import os
import signal
import sys
import time
from dataclasses import dataclass

import numpy as np

from data_prep.faceset import DataError

TRAINING, INFERENCE, SINGLE, PRODUCT = "training", "inference", "single_face", "matrix_product"
ONE_THREAD = "single_face_one_thread"  # the same on one core; ONNX Runtime only, which can be asked for it
AUGMENTED = "training_augmented"  # the same, through the pipeline AUGMENTATION; Keras only, for it is this study's
KINDS = (TRAINING, AUGMENTED, INFERENCE, SINGLE, ONE_THREAD, PRODUCT)
AUGMENTATION = "standard"
IMAGE_SIZE, POINTS = (96, 96), 15
PRODUCT_SIZE = 2048  # of the square matrices: large enough for full speed, small enough for any machine
MOST_FACES = 5639  # in one measurement of training: an epoch of the study's training set
MOST_CALLS = 10_000
WITHOUT_TWIN = {  # networks that evaluation/torch_twins.py leaves out, and why
    "efficientnet_b0": "its 240 layers are the library's, in Keras as in torchvision: a copy by hand would be neither"
}


@dataclass(frozen=True)
class Spec:
    """What a worker builds and how it measures."""

    framework: str  # keras, pytorch or onnx
    model: str  # with its options, as `models.registry.parse` reads it
    precision: str  # float32 or mixed_bfloat16
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


class KerasSide:
    """The network as the study trains it, on the backend that KERAS_BACKEND names."""

    def __init__(self, spec: Spec):
        from models.backend import import_keras

        keras = import_keras()
        from models.fitting import compile_network
        from models.losses import masked_mse
        from models.registry import parse

        self.spec, self.keras, self.loss = spec, keras, masked_mse
        keras.utils.set_random_seed(0)
        keras.mixed_precision.set_global_policy(spec.precision)
        self.build = parse(spec.model).build
        self.network = self.build(IMAGE_SIZE, some_mean_face())
        compile_network(keras, self.network, masked_mse, spec.learning_rate)
        kind = "bfloat16" if spec.precision == "mixed_bfloat16" else "float32"
        values = np.random.default_rng(2).standard_normal((PRODUCT_SIZE, PRODUCT_SIZE), dtype=np.float32)
        self.matrix = keras.ops.cast(values, kind)
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
        for _ in range(calls):
            result = self.keras.ops.matmul(self.matrix, self.matrix)
        float(self.keras.ops.cast(result[0, 0], "float32"))  # waits for a backend that works ahead

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


class OnnxSide:
    """The network as `inference.export` writes it, in ONNX Runtime on the CPU: float32, and nothing but inference."""

    def __init__(self, spec: Spec):
        import tempfile
        from pathlib import Path

        from models.backend import import_keras
        from models.onnx_files import POINTS, open_session, write
        from models.registry import parse

        import_keras()
        face = some_mean_face()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            network = parse(spec.model).build(IMAGE_SIZE, face)
            write(network, path, {"points": " ".join(POINTS[len(face)])})
            self.session, self.one_thread = (open_session(path, threads) for threads in (spec.threads, 1))
        self.spec = spec
        images, _ = random_faces(16)
        self.difference_px = float(np.abs(self.predict(images) - network.predict_on_batch(images)).max())

    def describe(self) -> dict:
        import onnxruntime

        return {
            "parameters": None,
            "threads": self.spec.threads,
            "backend": "onnxruntime",
            "versions": {"onnxruntime": onnxruntime.__version__},
            "difference_px": self.difference_px,
        }

    def predict(self, images) -> np.ndarray:
        return self.session.run(None, {"images": images.astype(np.float32)})[0]

    def predict_on_one_thread(self, images) -> np.ndarray:
        return self.one_thread.run(None, {"images": images.astype(np.float32)})[0]


class Meter:
    """Measures one side. Every measurement of a kind does the same work, set when it is warmed."""

    def __init__(self, spec: Spec, side):
        self.spec, self.side, self.calls = spec, side, {}
        trainings = dict.fromkeys((TRAINING, AUGMENTED), spec.batch_size)
        self.batch = {**trainings, INFERENCE: spec.inference_batch, SINGLE: 1, ONE_THREAD: 1, PRODUCT: None}

    def warm(self, what: str) -> dict:
        """Trace, allocate, and find how many batches take `seconds`."""
        self._time(what, 2)
        target, most = self.spec.seconds, MOST_CALLS
        if what in (TRAINING, AUGMENTED):
            most = max(3, MOST_FACES // self.spec.batch_size)
        elif what in (SINGLE, ONE_THREAD, PRODUCT):  # short calls: steady after a third of the time
            target /= 3
        seconds = self._time(what, 3) / 3
        self.calls[what] = self.spec.batches or min(max(3, math.ceil(target / seconds)), most)
        return {"calls": self.calls[what]}

    def measure(self, what: str) -> dict:
        """Units per second: images, or operations for the matrix product."""
        calls = self.calls[what]
        done = calls * (2 * PRODUCT_SIZE**3 if what == PRODUCT else self.batch[what])
        return {"rate": done / self._time(what, calls)}

    def _time(self, what: str, calls: int) -> float:
        if what == TRAINING:
            return self.side.train(*random_faces(calls * self.spec.batch_size))
        if what == AUGMENTED:
            return self.side.train(*random_faces(calls * self.spec.batch_size), augmented=True)
        if what != PRODUCT:
            images, _ = random_faces(self.batch[what])
        start = time.perf_counter()
        if what == PRODUCT:
            self.side.product(calls)
        else:
            predict = self.side.predict_on_one_thread if what == ONE_THREAD else self.side.predict
            for _ in range(calls):
                predict(images)
        return time.perf_counter() - start


def peak_rss_mb() -> float | None:
    """Largest memory this process has held; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # frameworks print to stdout

    def answer(**content) -> None:
        print(json.dumps(content), file=answers, flush=True)

    side = meter = None
    for line in sys.stdin:
        request, cpu = json.loads(line), time.process_time()
        do = request.pop("do")
        try:
            if do == "build":
                spec = Spec(**request)
                if hasattr(os, "sched_setaffinity"):  # before any thread pool is made
                    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: spec.threads])
                side = {"keras": KerasSide, "pytorch": TorchSide, "onnx": OnnxSide}[spec.framework](spec)
                meter, found = Meter(spec, side), side.describe()
            elif do == "memory":  # an ONNX worker's holds the TensorFlow that wrote the file
                found = {"peak_rss_mb": None if spec.framework == "onnx" else peak_rss_mb()}
            else:
                found = getattr(meter if do in ("warm", "measure") else side, do)(**request)
        except Exception as error:  # whatever it is, the parent has to hear of it
            answer(error=f"{type(error).__name__}: {error}")
            raise
        answer(**found, cpu_seconds=time.process_time() - cpu)


if __name__ == "__main__":
    main()
