"""Damaged photos: whatever a file holds, it is a photo or one line that says why not, in bounded memory and time."""

import io
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.faceset import DataError
from inference.photos import read

ROOT = Path(__file__).resolve().parent.parent
KINDS = {
    "JPEG": {"quality": 80, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
    "PNG": {}, "WEBP": {"quality": 50}, "TIFF": {"compression": "tiff_lzw"}, "GIF": {}, "BMP": {},
}  # fmt: skip
LIMIT = 3 << 30  # bytes of address space: 50 megapixels in RGB, gray and a copy or two, and the libraries


def photo(kind: str, rng: np.random.Generator) -> bytes:
    """A small photo with something of everything: smooth parts, noise, an orientation."""
    y, x = np.mgrid[:48, :64]
    pixels = np.stack([4 * x, 5 * y, 2 * (x + y)], axis=-1) % 256
    pixels[:, 40:] = rng.integers(0, 256, (48, 24, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, kind, **KINDS[kind])
    return file.getvalue()


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut off, repeated, or exchanged for numbers that are often too large; mostly near the start."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        place = int(len(found) * rng.random() ** 2)
        match rng.integers(5):
            case 0:
                found[place : place + 1] = rng.bytes(1)
            case 1:
                del found[place : place + int(rng.integers(1, 40))]
            case 2:
                found[place:place] = found[: int(rng.integers(1, 200))]
            case 3:
                found[place : place + 4] = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff")[rng.integers(3)]
            case 4:
                found = found[: max(place, 1)]
    return bytes(found)


def fuzz(folder: Path, count: int, seed: int) -> dict[str, int]:
    """How many of so many damaged photos were read, and how many refused. Anything but DataError is passed on."""
    rng, outcomes = np.random.default_rng(seed), {"read": 0, "refused": 0}
    path = folder / "photo"
    for number in range(count):
        path.write_bytes(mutated(photo(list(KINDS)[number % len(KINDS)], rng), rng))
        start, reason = time.perf_counter(), None
        try:
            found = read(path)
        except DataError as error:
            reason = str(error)
        if reason is None:
            assert found.rgb.shape == (*found.gray.shape, 3)
            assert found.rgb.dtype == found.gray.dtype == np.uint8
        else:
            assert reason.startswith(f"{path}: ")
            assert "\n" not in reason
        outcomes["read" if reason is None else "refused"] += 1
        assert time.perf_counter() - start < 60
    return outcomes


def in_a_process_of_its_own(folder: Path, count: int, seed: int) -> str:
    """Runs `fuzz` with an address space of LIMIT bytes and returns what it printed."""
    said = subprocess.run(
        [sys.executable, __file__, str(folder), str(count), str(seed)], cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr[-2000:]
    return said.stdout


def test_damaged_photos(tmp_path):
    said = in_a_process_of_its_own(tmp_path, 600, 0)
    outcomes = dict(part.split("=") for part in said.split())
    assert int(outcomes["read"]) > 50  # the damage is not such that nothing passes
    assert int(outcomes["refused"]) > 50


@pytest.mark.slow
def test_many_damaged_photos(tmp_path):
    outcomes = dict(part.split("=") for part in in_a_process_of_its_own(tmp_path, 60_000, 1).split())
    assert int(outcomes["read"]) + int(outcomes["refused"]) == 60_000


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    print(*(f"{name}={count}" for name, count in fuzz(Path(sys.argv[1]), *map(int, sys.argv[2:])).items()))
