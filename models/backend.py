"""Import Keras on the backend that KERAS_BACKEND names (TensorFlow by default), without start-up chatter."""

import os
import sys
from contextlib import contextmanager


def import_keras():
    """The keras module. Costs seconds the first time, so nothing imports it before it is needed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow turns oneDNN's kernels on by itself only where the CPU has AVX-512's instructions for networks;
    # with AVX2 alone they train `base` 2.6 times as fast (Zen 3, 2 cores: 12 s an epoch instead of 31).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _silent_stderr():
        import keras

        keras.ops.zeros(1)  # the backend prints some of its lines only when it is first used
    return keras


@contextmanager
def _silent_stderr():
    """Send the process's stderr nowhere: TensorFlow's C++ libraries log there before any setting reaches them.

    Python exceptions are not affected.
    """
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
