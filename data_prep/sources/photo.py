"""Photographs and their keypoints: decoding to gray, scaling a face crop, cutting a face out of a photo.

Coordinates are (x, y) in pixels, (0, 0) the centre of the top-left pixel, so the image spans -0.5 to W - 0.5.
"""

import io
import zipfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from data_prep.faceset import DataError
from data_prep.schema import Schema
from data_prep.sources.kaggle_table import DAMAGED

MAX_BYTES = 200_000_000  # of one file; a damaged or hostile archive may promise more than memory holds
MAX_PIXELS = 50_000_000
MAX_SIDE = 32_766  # cv2.warpAffine counts pixels in 16 bits
FORMATS = ("JPEG", "PNG", "BMP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
OUTSIDE = 0.5  # a point may lie outside the image by this fraction of its width or height

# How the bounding box of a schema's points lies in a square crop: centre x, centre y, sqrt(width * height),
# as fractions of the crop's side. Each is a mean over the crops that define the frame (spread at 96 px):
# kaggle15: the 2,140 complete first-source rows of the Kaggle set (1.7 px, 1.7 px, 7 % in size);
# ibug68: the 3,802 YouTube Faces crops (1.7 px, 1.3 px, 4 %). The Kaggle frame would cut off the chin, which
# is among the 68 points.
FACE_BOX = {"kaggle15": (0.506, 0.580, 0.643), "ibug68": (0.504, 0.506, 0.510)}


def read_bytes(path: Path | zipfile.Path, name: str) -> bytes:
    """A file's bytes, from a folder or a zip. DataError naming `name` where it is missing or unreadable."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, KeyError):
        raise DataError(f"{name}: no such file") from None
    except (*DAMAGED, OSError, ValueError) as error:
        raise DataError(f"{name}: cannot be read ({error})") from None
    if len(data) > MAX_BYTES:
        raise DataError(f"{name}: larger than {MAX_BYTES:,} bytes, the most that is read of one file")
    return data


def decode_gray(data: bytes, name: str) -> np.ndarray:
    """An image file's bytes -> uint8 [H, W], ITU-R 601 luminance.

    Pixels stay as stored: an EXIF orientation is ignored, because landmark files give stored pixels.
    Pillow, unlike OpenCV, tells the size before it decodes.
    """
    if not data:
        raise DataError(f"{name}: the file is empty, expected an image ({', '.join(FORMATS)})")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
            raise Image.DecompressionBombError
        gray = np.array(image.convert("L"))
    except Image.DecompressionBombError:
        limits = f"{MAX_PIXELS // 10**6} megapixels and {MAX_SIDE:,} pixels a side"
        raise DataError(f"{name}: too large, accepted are up to {limits}") from None
    except (OSError, SyntaxError, ValueError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{name}: cannot be decoded ({reason}), expected {', '.join(FORMATS)}") from None
    if image.mode.startswith(("I", "F")):  # 16 bits and more, which `convert` clips at 255
        raise DataError(f"{name}: pixels of mode {image.mode}, expected 8 bits a channel")
    return gray


def check_points(keypoints: np.ndarray, image: np.ndarray, name: str) -> None:
    """DataError where a point [K, 2] lies more than `OUTSIDE` of an image's width or height beyond its edge.

    Points a little outside are real: faces run out of crops.
    """
    extent = np.array(image.shape[::-1], float)
    low, high = -OUTSIDE * extent, (1 + OUTSIDE) * extent - 1
    bad = ~((keypoints >= low) & (keypoints <= high)).all(axis=1)
    if bad.any():
        k = int(bad.argmax())
        x, y = keypoints[k]
        raise DataError(
            f"{name}: point {k} at ({x:g}, {y:g}) is far outside the {extent[0]:g}x{extent[1]:g} image, "
            f"accepted (counted from 0) are x {low[0]:g} to {high[0]:g} and y {low[1]:g} to {high[1]:g}"
        )


def resize(image: np.ndarray, keypoints: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole image [H, W] stretched to [size, size], and its keypoints [K, 2] in the new pixels."""
    scale = size / np.array(image.shape[::-1], float)
    method = cv2.INTER_AREA if (scale <= 1).all() else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=method), (keypoints + 0.5) * scale - 0.5


def face_affine(keypoints: np.ndarray, schema: Schema, size: int, name: str) -> np.ndarray:
    """The map from a photo's pixels to a square face crop's, float [2, 3]: scaling and shift, no rotation.

    keypoints: [K, 2] of `schema`. Their bounding box comes to lie as `FACE_BOX` says. The square may leave
    the photo.
    """
    low, high = keypoints.min(axis=0), keypoints.max(axis=0)
    if (high - low < 1).any():
        raise DataError(f"{name}: the points span less than one pixel, expected a face")
    x, y, box = FACE_BOX[schema.name]
    scale = box * size / np.sqrt(np.prod(high - low))
    shift = np.array([x, y]) * size - 0.5 - scale * (low + high) / 2
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def crop(image: np.ndarray, affine: np.ndarray, size: int) -> np.ndarray:
    """The crop [size, size] that `affine` (from `face_affine`) cuts out of an image [H, W].

    Beyond the image its edge pixels repeat: black bars would put a hard edge where the face goes on.
    Shrinking averages over areas: the crop is drawn at a whole multiple of its size, at least as fine as the
    photo, then reduced, which keeps the sub-pixel position and avoids aliasing.
    """
    fine = int(np.clip(np.ceil(1 / affine[0, 0]), 1, 32))
    enlarged = affine * fine
    enlarged[:, 2] = (affine[:, 2] + 0.5) * fine - 0.5
    drawn = cv2.warpAffine(image, enlarged, (size * fine, size * fine), borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA)


def transform(affine: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Keypoints [K, 2] mapped by an affine [2, 3]."""
    return keypoints @ affine[:, :2].T + affine[:, 2]
