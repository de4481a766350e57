"""Number formats for training: float32, or bfloat16 arithmetic on float32 weights where the machine gains."""

from pathlib import Path

PRECISIONS = ("float32", "mixed_bfloat16", "auto")


def resolve(precision: str) -> str:
    """The Keras policy for a `--precision` choice.

    auto picks mixed_bfloat16 where the hardware multiplies bfloat16 natively: a CPU with AVX512-BF16 or AMX
    under TensorFlow (elsewhere it is emulated, and slower than float32), or a GPU or TPU.
    """
    if precision != "auto":
        return precision
    import keras

    if any(device.lower().startswith(("gpu", "tpu")) for device in keras.distribution.list_devices()):
        return "mixed_bfloat16"
    native = cpu_has_bfloat16() and keras.backend.backend() == "tensorflow"
    return "mixed_bfloat16" if native else "float32"


def cpu_has_bfloat16() -> bool:
    """Whether Linux lists bfloat16 instructions for this CPU; False where that cannot be told."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(vector_instructions())


def vector_instructions() -> list[str]:
    """Of the sets that decide how fast a CPU trains, those that Linux lists; empty where that cannot be told."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return []
    return [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in words]
