"""Pictures of the page: which there are, what stands under them, and which may leave this machine."""

import base64
import io
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from data_prep.faceset import DataError

# Sheets that show single faces, `*` being the model. In the page they are JPEG: as PNG, four networks' sheets would
# make it too heavy for a phone. Plots stand in it as they are.
FACES = (
    "sample_faces_*.png",
    "worst_faces_*.png",
    "before_after_*.png",
    "samples.png",
    "samples_filled.png",
    "augmentation.png",
    "novelty.png",
)
JPEG = {"quality": 85, "subsampling": 0, "optimize": True}

# Name -> section, alternative text, caption. A picture that is not here goes under `pictures` with its name.
CAPTIONS = {
    "intervals.png": (
        "summary",
        "RMSE of each network and recipe as a dot with a bar for its interval, best at the top",
        "RMSE of each network and recipe with its 95 % interval; the small dots are single seeds.",
    ),
    "accuracy_against_time.png": (
        "summary",
        "RMSE with its interval over the milliseconds for a face, a dot for each network",
        "RMSE over the time that one face takes on one core of the machine that measured it (results/benchmark); each "
        "network by the recipe that validated best.",
    ),
    "error_per_keypoint.png": (
        "keypoints",
        "RMSE of each keypoint, a row per keypoint and a mark per network",
        "RMSE of each keypoint, the mean over seeds; the mean face for scale.",
    ),
    "mean_face_errors.png": (
        "keypoints",
        "Ellipses at each point of the mean face show how predictions spread, arrows where they lean",
        "Bias (arrow, magnified) and spread (ellipse) of each keypoint's error, drawn at the mean face.",
    ),
    "cumulative_error.png": (
        "plots",
        "Curves of the share of points within a distance of 0 to 10 pixels, one per network",
        "Share of labelled points within a distance from the truth. Higher and further left is better.",
    ),
    "learning_curves.png": (
        "plots",
        "Training and validation loss over epochs, a panel per network and recipe",
        "Loss per epoch. Losses compare within one recipe and one treatment of missing points only.",
    ),
    "truth_against_prediction.png": (
        "plots",
        "Predicted coordinate over true coordinate, points along the diagonal",
        "Predicted over true coordinate of every labelled point; a perfect network stays on the diagonal.",
    ),
    "sample_faces_*.png": (
        "faces",
        "Three rows of test faces of {model}: best, median and worst, with true and predicted points",
        "{model}: best, median and worst test faces, truth green, prediction magenta.",
    ),
    "before_after_*.png": (
        "faces",
        "Six test faces twice, with the points that {model} predicts before and after training, and the true ones",
        "{model} before and after training: truth green, prediction magenta; faces chosen without regard to their "
        "errors.",
    ),
    "worst_faces_*.png": (
        "worst",
        "The test faces that {model} misses most, with true and predicted points",
        "{model}: the faces missed most, truth green, prediction magenta; above each its id and mean distance.",
    ),
    "worst_points_*.png": (
        "worst",
        "The points of the test faces that {model} misses most, without the faces",
        "{model}: the faces missed most, as points alone: truth green, prediction magenta, the mean of the test "
        "faces gray; above each its id and mean distance.",
    ),
    "leakage.png": (
        "leakage",
        "RMSE with and without relatives of the test faces in training, and the difference with its interval",
        "The same test faces, with and without relatives of them among the training faces.",
    ),
    "precision_recall.png": (
        "grouping",
        "Precision over recall of pairs of faces found by the linear map, by gradients and by pixels",
        "Pairs of faces found to be of one clip, among people that the method has not seen.",
    ),
    "clusters.png": (
        "grouping",
        "Share of clips parted by the split, largest group and purity over the similarity at which clusters join",
        "What a stricter or looser grouping would do.",
    ),
    "samples.png": (
        "data",
        "A sheet of faces of the data set with their labelled points",
        "Faces of the data set with their labels, from the fewest labels to the most.",
    ),
    "samples_filled.png": (
        "data",
        "The same faces with filled-in points as orange rings",
        "The same faces after the treatment of missing points: orange rings are filled in, no truth.",
    ),
    "missing.png": (
        "data",
        "Bars of missing labels per keypoint, and the most frequent patterns of labels",
        "Missing labels per keypoint, and which points are labelled together.",
    ),
    "keypoints.png": (
        "data",
        "Clouds of every keypoint's labels over the blurred average of many images",
        "Where the labels lie, over the average of all images of a label source.",
    ),
    "pixels.png": (
        "data",
        "Histograms of gray values, of brightness and of contrast",
        "Gray values of all pixels; mean and standard deviation of the gray values of each image.",
    ),
    "augmentation.png": (
        "data",
        "Rows of faces, each beside five random changes of it, with its points",
        "Faces as augmentation changes them for training, with their points, and those points taken back.",
    ),
    "novelty.png": (
        "data",
        "Sampled faces, each beside the training photograph closest to it",
        "Sampled faces beside the photographs nearest to them.",
    ),
}


@dataclass(frozen=True)
class Picture:
    """`data`: the picture as a data: URL; `width`, `height` in its pixels; `file` relative to the results folder."""

    section: str
    file: str
    alt: str
    caption: str
    data: str
    width: int
    height: int


def gather(folder: Path, own_faces: bool, full: bool) -> list[Picture]:
    """The pictures of a results folder in the order of `CAPTIONS`, unknown ones last.

    own_faces: whether the faces are the project's own sampled ones. Where they are not, sheets of faces are left
    out, wherever they lie, and `faces/` is opened for the full page only. Raises DataError for a damaged PNG.
    """
    places = [folder, folder / "data", *([folder / "faces"] if full else [])]
    paths = [path for place in places for path in sorted(place.glob("*.png"))]
    allowed = [path for path in paths if own_faces or full or not _shows_faces(path)]
    order = list(CAPTIONS)
    allowed.sort(key=lambda path: order.index(found) if (found := _pattern(path.name)) else len(order))
    return [picture(path, path.relative_to(folder).as_posix()) for path in allowed]


def picture(path: Path, file: str) -> Picture:
    """One PNG, ready for the page. Raises DataError where it is damaged."""
    pattern = _pattern(path.name)
    if pattern:
        section, alt, caption = CAPTIONS[pattern]
        model = path.stem[pattern.index("*") :] if "*" in pattern else ""
        alt, caption = alt.format(model=model), caption.format(model=model)
    else:
        section, alt, caption = "pictures", f"Picture {path.name}", ""  # its name stands under it anyway
    kind, data, width, height = _encoded(path, _shows_faces(path))
    url = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Picture(section, file, alt, caption, url, width, height)


def _shows_faces(path: Path) -> bool:
    return any(fnmatch(path.name, name) for name in FACES)


def _pattern(name: str) -> str | None:
    return next((pattern for pattern in CAPTIONS if fnmatch(name, pattern)), None)


def _encoded(path: Path, as_jpeg: bool) -> tuple[str, bytes, int, int]:
    """A PNG's kind, bytes, width and height for the page. Raises DataError where it is damaged."""
    from PIL import Image, UnidentifiedImageError

    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
            if not as_jpeg:
                return "png", data, *image.size
            jpeg = io.BytesIO()
            image.convert("RGB").save(jpeg, "JPEG", **JPEG)
            return "jpeg", jpeg.getvalue(), *image.size
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
