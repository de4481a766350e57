"""Photographs as people have them: found by file, folder or pattern, opened by Pillow, turned upright.

What is too large is refused before it is decoded, by the limits that hold for training data too
(`data_prep.sources.photo`: 200 MB a file, 50 megapixels, 32,766 pixels a side); 30,000x30,000 pixels of one gray are a
file of a few kilobytes.
"""

import glob
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from data_prep.faceset import DataError
from data_prep.sources.photo import MAX_PIXELS, MAX_SIDE, read_bytes

# Not all that Pillow reads: it hands EPS to Ghostscript, for one.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")  # what is taken from a folder
DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # gray of 16 bits


@dataclass(frozen=True)
class Photo:
    """A photo, upright.

    rgb: uint8 [H, W, 3]. gray: uint8 [H, W], ITU-R 601 luma, as training faces are. lossy: whether the file was one of
    a lossy format.
    """

    name: str
    rgb: np.ndarray
    gray: np.ndarray
    lossy: bool = False


def find(inputs: list[str]) -> tuple[list[Path], list[str]]:
    """The files that were named, each once, in order, and a line about each input that names none.

    Of a folder, what a photo's name ends with and no hidden file; what is in folders inside it is left alone.
    """
    found, wrong = {}, []
    for text in inputs:
        path = Path(text)
        try:
            if path.is_dir():
                files = [p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
                problem = f"a folder without photos ({', '.join(SUFFIXES)})"
            elif path.exists():  # a name may have * or [ in it
                files, problem = [path], ""
            else:
                files, problem = [Path(match) for match in glob.glob(text, recursive=True)], "no such file or folder"
                files = [file for file in files if not file.is_dir()]
        except OSError as error:
            files, problem = [], f"cannot be read ({error.strerror})"
        for file in sorted(files):
            found.setdefault(os.path.realpath(file), file)
        if not files:
            wrong.append(f"{shown(path)}: {problem}")
    return list(found.values()), wrong


def shown(path: Path) -> str:
    """A path as text that can be printed and written, whatever bytes its name has."""
    text = os.fsencode(path).decode("utf-8", errors="replace")
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def for_opencv(path: Path) -> str:
    """A path as text for OpenCV, which takes UTF-8 alone and crashes else. Raises DataError for any other."""
    found = os.path.abspath(path)  # FFmpeg takes the start of `12:30.mp4` for a protocol
    try:
        found.encode()
    except UnicodeEncodeError:
        raise DataError(f"{shown(path)}: a name in UTF-8 is accepted here") from None
    return found


def read(path: Path, upright: bool = True) -> Photo:
    """Open a photo. Raises DataError, one line, for what is no photo, is damaged or too large.

    upright: turned as its EXIF orientation says; else as stored. Of several pictures in a file (animations, stereo
    photos) the first. Transparent parts become white; 16 bits become 8.
    """
    name = shown(path)
    if path.exists() and not path.is_file():
        raise DataError(f"{name}: not a file")  # a pipe would never end
    data = read_bytes(path, name)
    if not data:
        raise DataError(f"{name}: the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
            raise Image.DecompressionBombError
        lossy = image.format in ("JPEG", "MPO", "WEBP")  # a stereo JPEG is opened as MPO
        if upright:
            ImageOps.exif_transpose(image, in_place=True)
        elif image.format == "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            raise DataError("Pillow turns such a TIFF as it opens it; a PNG or JPEG is accepted")
        rgb = eight_bits(image)
        return Photo(name, np.asarray(rgb), np.asarray(rgb.convert("L")), lossy)
    except Image.DecompressionBombError:
        limits = f"{MAX_PIXELS // 10**6} megapixels and {MAX_SIDE:,} pixels a side"
        raise DataError(f"{name}: too large, accepted are up to {limits}") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: not an image ({', '.join(FORMATS)} are read)") from None
    except Exception as error:  # a damaged file makes Pillow's readers raise nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{name}: cannot be decoded ({reason})") from None


@contextmanager
def quietly() -> Iterator[None]:
    """Without Pillow's warnings of damaged tags, and of sizes that `read` refuses.

    Not in `read` itself: warnings are silenced for a whole process, and several threads may read at a time.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


def eight_bits(image: Image.Image) -> Image.Image:
    """An image of any mode in RGB."""
    if image.mode in DEEP:
        values = np.asarray(image, dtype=np.float64)
        if getattr(image, "tag_v2", {}).get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero
            values = 65535 - values
        if values.max() > 65535 or values.min() < 0:
            raise DataError("more than 16 bits a pixel")
        return Image.fromarray((values / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DataError("floating-point pixels")
    if image.has_transparency_data:  # what colour lies below would be chance
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")
