"""Glasses, drawn here or a user's own picture of some, held by the eyes; they turn, tilt and shorten with the face."""

from functools import cache
from pathlib import Path

import numpy as np

from data_prep.faceset import DataError
from inference.filters import overlay
from inference.filters.overlay import FACE, Picture

HELD_BY = tuple(
    f"{side}_eye_{part}" for side in ("left", "right") for part in ("center", "inner_corner", "outer_corner")
)
BEFORE_EYES = 0.5  # how far glasses stand out, as a share of how far the nose does
EARS_BEHIND = 3.0  # the same of how far the ears lie behind
STRETCH = 0.85, 1.2  # the least and most height that glasses take, in their own

LENS = (0.53, 0.07)  # face units, all that follow: a lens's middle
LENS_SIZE = (0.4, 0.325)  # half its width and height
RIM, RIM_ABOVE = (0.05, 0.055), 0.012  # the frame's width beside and above lenses, and how much more it has above
HINGE = (1.03, -0.13)
ARM = 0.1, 0.4  # an arm's height and the length at which it is drawn
ARM_SEEN = 0.13  # its length where the face looks into the camera
BEYOND_BROWS = 1.1  # a user's picture reaches so much further out than the brows

UNIT = 360
MOST_SIDE = 1024  # pixels of a user's picture, which is reduced to it


def put_on(rgb: np.ndarray, keypoints: np.ndarray, picture: np.ndarray | Picture | None = None) -> np.ndarray:
    """A photo, uint8 [H, W, 3], with glasses on the face that has these points, [15, 2].

    picture: the user's own, uint8 [h, w, 4] with alpha (or what `own` made of it, which saves time where it is laid
    on many photos). Its width spans a bit more than the brows, its middle lies between the eyes.
    """
    upright, aside = where(keypoints)
    frame = overlay.moved(upright, (BEFORE_EYES * aside, 0), (1, height(upright, keypoints)))
    if picture is not None:
        return overlay.lay_on(rgb, (picture if isinstance(picture, Picture) else own(picture), frame))
    arms = []
    for side in (1, -1):
        seen = ARM_SEEN - EARS_BEHIND * aside * side
        if seen > 0:
            hinge = (side * HINGE[0], HINGE[1])
            shortened = overlay.moved(frame, hinge, (side * min(seen, 1.0) / ARM[1], 1))
            arms.append((arm(), shortened))
    return overlay.lay_on(rgb, *arms, (front(), frame))


def where(keypoints: np.ndarray) -> tuple[np.ndarray, float]:
    """The placement by the eyes, and how far the nose's tip lies to the subject's left: so far is the face turned."""
    upright = overlay.placement(keypoints, HELD_BY)
    return upright, overlay.turned(upright, keypoints)


def height(upright: np.ndarray, keypoints: np.ndarray) -> float:
    """How high the face is for the distance of its eyes, half of which the glasses follow: a turned face is narrow."""
    lip = overlay.in_face_units(upright, overlay.points_of(keypoints, ("mouth_center_top_lip",)))[0]
    return float(np.clip((1 + lip[1] / FACE["mouth_center_top_lip"][1]) / 2, *STRETCH))


def own(picture: np.ndarray) -> Picture:
    """A user's picture as one that can be laid on."""
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 4 or not picture.size:
        raise DataError(f"picture: {picture.dtype} {list(picture.shape)}, expected uint8 [h, w, 4]")
    high, wide = picture.shape[:2]
    unit = wide / (2 * BEYOND_BROWS * FACE["left_eyebrow_outer_end"][0])
    return Picture(picture, unit, ((wide - 1) / 2, (high - 1) / 2))


def read_picture(path: Path) -> np.ndarray:
    """A picture file with transparency, uint8 [h, w, 4], without what is transparent around it, reduced if large.

    Raises DataError, one line, for what is no such picture, or larger than photos may be (`inference.photos`).
    """
    from PIL import Image, ImageOps

    from inference import photos

    photos.read(path)  # refuses what is no image, damaged or too large
    with Image.open(path, formats=photos.FORMATS) as image:
        if not image.has_transparency_data:
            raise DataError(f"{photos.shown(path)}: no transparency, expected a picture with an alpha channel")
        picture = ImageOps.exif_transpose(image).convert("RGBA")
    alpha = picture.getchannel("A")
    if alpha.getextrema()[0] == 255:
        raise DataError(f"{photos.shown(path)}: no transparency, all of its pixels are opaque")
    box = alpha.getbbox()
    if box is None:
        raise DataError(f"{photos.shown(path)}: all of its pixels are transparent")
    picture = picture.crop(box)
    picture.thumbnail((MOST_SIDE, MOST_SIDE))
    return np.array(picture)


@cache
def front() -> Picture:
    """Frame and lenses, without arms."""
    from inference.filters.drawing import Canvas, mirrored, mix, smooth

    canvas = Canvas(-1.3, -0.55, 1.3, 0.7, UNIT)
    end = smooth([(0.84, -0.24), (0.96, -0.215), (1.05, -0.2), (1.06, -0.1), (1.0, -0.06), (0.93, -0.03)], closed=True)
    bridge = smooth([(0.2, -0.12), (0.12, -0.09), (0, -0.075), (-0.12, -0.09), (-0.2, -0.12)])
    glass, frame = canvas.area(outline(0)), np.maximum(canvas.area(outline(1)), canvas.area(end))
    glass, frame = (np.maximum(half, half[:, ::-1]) for half in (glass, frame))
    frame = np.maximum(frame, canvas.line(bridge, 0.085)) * (1 - glass)

    canvas.paint(canvas.soft(frame, 0.03, (0, 0.045)), (30, 10, 0), 0.4)  # the frame's shadow on the face
    canvas.paint(glass, (35, 45, 60), np.clip(0.2 - 0.3 * canvas.y, 0.06, 0.26))
    slant = canvas.x + 0.7 * canvas.y
    for middle, wide in ((0.3, 0.055), (0.44, 0.022), (-0.74, 0.055), (-0.6, 0.022)):  # what the glass reflects
        canvas.paint(canvas.soft(glass * (abs(slant - middle) < wide), 0.006) * glass, (255, 255, 255), 0.14)
    canvas.paint(frame, mix((66, 38, 26), (22, 13, 11), (canvas.y + 0.3) / 0.6))
    rounded = canvas.soft(frame, 0.012)
    canvas.paint(np.clip(rounded - canvas.soft(rounded, 0.006, (0, 0.02)), 0, 1) * frame, (255, 235, 220), 0.9)
    for pin in ([(0.965, -0.145), (0.995, -0.145)], [(0.965, -0.115), (0.995, -0.115)]):
        for each in (pin, mirrored(pin)):
            canvas.paint(canvas.soft(canvas.line(each, 0.018), 0.003), (214, 205, 190), 0.9)
    return canvas.picture()


def outline(rim: float) -> np.ndarray:
    """The left lens's, rim 0, or the frame's about it, rim 1: a rounded rectangle, wider above, lifted outwards."""
    turn = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    x, y = (np.sign(wave) * abs(wave) ** 0.78 for wave in (np.cos(turn), np.sin(turn)))
    x = x * (1 - 0.1 * (y + 0.3))
    y = y - 0.09 * x * (y < 0.5) * (0.5 - y)
    (more_x, more_y), up = RIM, rim * RIM_ABOVE
    return np.stack([x, y], axis=1) * np.add(LENS_SIZE, (rim * more_x, rim * more_y)) + LENS - (0, up)


@cache
def arm() -> Picture:
    """An arm, from its hinge at (0, 0) to the subject's left."""
    from inference.filters.drawing import Canvas, mix

    thick, long = ARM
    canvas = Canvas(-0.15, -0.2, long + 0.05, 0.25, UNIT)
    body = canvas.area(
        [(-0.1, -thick / 2), (0, -thick / 2), (long, -0.035), (long, 0.035), (0, thick / 2), (-0.1, thick / 2)]
    )
    canvas.paint(canvas.soft(body, 0.025, (0, 0.05)), (30, 10, 0), 0.35)
    canvas.paint(body, mix((64, 44, 38), (16, 11, 11), (canvas.y + 0.05) / 0.1))
    canvas.fade(np.clip((long - canvas.x) / (0.3 * long), 0, 1))  # where it goes behind the hair or the ear
    return canvas.picture()
