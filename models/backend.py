"""Import Keras on the backend that KERAS_BACKEND names (TensorFlow by default), without start-up chatter."""

import os
import sys
from contextlib import contextmanager


def import_keras():
    """The keras module. Costs seconds the first time, so nothing imports it before it is needed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
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
