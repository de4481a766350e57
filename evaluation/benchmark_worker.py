"""One network in one framework at one precision, in a process of its own that `evaluation.benchmark` asks.

A request is a line of JSON on stdin, the answer a line on stdout; between requests the process waits and uses no
CPU, so that no two frameworks' threads ever compete. The first line says what to build (`Spec`) in which framework.
"""

import json
import math
import os
import signal
import sys
import time

from evaluation.benchmark_sides import SIDES
from evaluation.benchmark_task import (
    AUGMENTED,
    INFERENCE,
    MOST_CALLS,
    MOST_FACES,
    ONE_THREAD,
    PRODUCT,
    PRODUCT_SIZE,
    SINGLE,
    TRAINING,
    Spec,
    random_faces,
)


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
                side = SIDES[spec.framework](spec)
                meter, found = Meter(spec, side), side.describe()
            elif do == "memory":  # of a worker that wrote a file it holds the TensorFlow that did so
                found = {"peak_rss_mb": None if spec.framework in ("onnx", "litert") else peak_rss_mb()}
            else:
                found = getattr(meter if do in ("warm", "measure") else side, do)(**request)
        except Exception as error:  # whatever it is, the parent has to hear of it
            answer(error=f"{type(error).__name__}: {error}")
            raise
        answer(**found, cpu_seconds=time.process_time() - cpu)


if __name__ == "__main__":
    main()
