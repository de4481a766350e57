"""Which keypoints a data set has: their names, their mirror images, which of them are the eyes.

Left and right are the subject's. Everything else follows from the names: a point's mirror image is the
point with `left` and `right` exchanged in its name.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Schema:
    """An ordered set of named keypoints.

    name: key in `SCHEMAS`, written to manifests and run records.
    points: K point names, in the order of axis 1 of every `keypoints` array.
    left_eye, right_eye: the points whose mean is the end of the eye line that normalises errors (NME):
        the eye centres for 15 points, the outer eye corners for 68 (Sagonas et al. 2013, 300-W).
    """

    name: str
    points: tuple[str, ...]
    left_eye: tuple[str, ...]
    right_eye: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.points)

    def index(self, point: str) -> int:
        """Position of a point by name. Raises KeyError naming the schema when it has no such point."""
        try:
            return self.points.index(point)
        except ValueError:
            raise KeyError(f"schema {self.name} has no point {point!r}") from None

    @property
    def mirror(self) -> np.ndarray:
        """int [K]: `keypoints[:, mirror]` exchanges each point with its left/right counterpart."""
        return np.array([self.index(_mirrored(point)) for point in self.points])

    @property
    def columns(self) -> tuple[str, ...]:
        """The 2K coordinate columns of a CSV file: `<point>_x, <point>_y`, in order."""
        return tuple(f"{point}_{axis}" for point in self.points for axis in "xy")

    def eye_distance(self, keypoints: np.ndarray) -> np.ndarray:
        """Distance between the eyes in pixels, float [N]; NaN where an eye is unlabelled.

        keypoints: float [N, K, 2] in pixels.
        """
        left = keypoints[:, [self.index(p) for p in self.left_eye]].mean(axis=1)
        right = keypoints[:, [self.index(p) for p in self.right_eye]].mean(axis=1)
        return np.linalg.norm(left - right, axis=-1)


def _mirrored(name: str) -> str:
    """`left_eye_center` -> `right_eye_center`; a name without a side is its own mirror image."""
    parts = {"left": "right", "right": "left"}
    return "_".join(parts.get(part, part) for part in name.split("_"))


def _numbered(stem: str, numbers) -> list[str]:
    return [f"{stem}_{n}" for n in numbers]


KAGGLE15 = Schema(
    name="kaggle15",
    points=(
        "left_eye_center",
        "right_eye_center",
        "left_eye_inner_corner",
        "left_eye_outer_corner",
        "right_eye_inner_corner",
        "right_eye_outer_corner",
        "left_eyebrow_inner_end",
        "left_eyebrow_outer_end",
        "right_eyebrow_inner_end",
        "right_eyebrow_outer_end",
        "nose_tip",
        "mouth_left_corner",
        "mouth_right_corner",
        "mouth_center_top_lip",
        "mouth_center_bottom_lip",
    ),
    left_eye=("left_eye_center",),
    right_eye=("right_eye_center",),
)

# The only points that Kaggle's second label source has, in the schema's order.
SECOND_SOURCE_POINTS = ("left_eye_center", "right_eye_center", "nose_tip", "mouth_center_bottom_lip")

# The iBUG 68-point mark-up (Sagonas et al., "300 Faces in-the-Wild Challenge", 2013), 0-based, drawn from
# the subject's right to left. Numbers count away from the face's midline for brows, and along the contour
# for eyes and lips, such that mirror images carry the same number.
IBUG68 = Schema(
    name="ibug68",
    points=(
        *_numbered("jaw_right", range(8, 0, -1)),  # 0-7, ear to chin
        "jaw_center",  # 8
        *_numbered("jaw_left", range(1, 9)),  # 9-16, chin to ear
        *_numbered("right_eyebrow", range(5, 0, -1)),  # 17-21, outer to inner end
        *_numbered("left_eyebrow", range(1, 6)),  # 22-26
        *_numbered("nose_bridge", range(1, 5)),  # 27-30, 30 is the tip
        *_numbered("nostril_right", range(2, 0, -1)),  # 31-32
        "nostril_center",  # 33, the nose's base
        *_numbered("nostril_left", range(1, 3)),  # 34-35
        "right_eye_outer_corner",  # 36
        *_numbered("right_eye_upper_lid", range(2, 0, -1)),  # 37-38
        "right_eye_inner_corner",  # 39
        *_numbered("right_eye_lower_lid", range(1, 3)),  # 40-41
        "left_eye_inner_corner",  # 42
        *_numbered("left_eye_upper_lid", range(1, 3)),  # 43-44
        "left_eye_outer_corner",  # 45
        *_numbered("left_eye_lower_lid", range(2, 0, -1)),  # 46-47
        "mouth_right_corner",  # 48
        *_numbered("outer_top_lip_right", range(2, 0, -1)),  # 49-50
        "outer_top_lip_center",  # 51
        *_numbered("outer_top_lip_left", range(1, 3)),  # 52-53
        "mouth_left_corner",  # 54
        *_numbered("outer_bottom_lip_left", range(2, 0, -1)),  # 55-56
        "outer_bottom_lip_center",  # 57
        *_numbered("outer_bottom_lip_right", range(1, 3)),  # 58-59
        "inner_mouth_right_corner",  # 60
        "inner_top_lip_right",  # 61
        "inner_top_lip_center",  # 62
        "inner_top_lip_left",  # 63
        "inner_mouth_left_corner",  # 64
        "inner_bottom_lip_left",  # 65
        "inner_bottom_lip_center",  # 66
        "inner_bottom_lip_right",  # 67
    ),
    left_eye=("left_eye_outer_corner",),
    right_eye=("right_eye_outer_corner",),
)

SCHEMAS = {schema.name: schema for schema in (KAGGLE15, IBUG68)}

# Each of the 15 points as the mean of these iBUG points (0-based).
KAGGLE15_FROM_IBUG68: dict[str, tuple[int, ...]] = {
    "left_eye_center": (42, 43, 44, 45, 46, 47),
    "right_eye_center": (36, 37, 38, 39, 40, 41),
    "left_eye_inner_corner": (42,),
    "left_eye_outer_corner": (45,),
    "right_eye_inner_corner": (39,),
    "right_eye_outer_corner": (36,),
    "left_eyebrow_inner_end": (22,),
    "left_eyebrow_outer_end": (26,),
    "right_eyebrow_inner_end": (21,),
    "right_eyebrow_outer_end": (17,),
    "nose_tip": (30,),
    "mouth_left_corner": (54,),
    "mouth_right_corner": (48,),
    "mouth_center_top_lip": (51,),
    "mouth_center_bottom_lip": (57,),
}


def kaggle15_from_ibug68(keypoints: np.ndarray) -> np.ndarray:
    """Reduce 68 points to the 15: float [N, 68, 2] -> float [N, 15, 2], same units and frame.

    A point is NaN where any of the points it averages is NaN.
    """
    if keypoints.ndim != 3 or keypoints.shape[1:] != (len(IBUG68), 2):
        raise ValueError(f"expected [N, {len(IBUG68)}, 2], got {list(keypoints.shape)}")
    return np.stack([keypoints[:, list(KAGGLE15_FROM_IBUG68[p])].mean(axis=1) for p in KAGGLE15.points], axis=1)
