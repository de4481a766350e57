"""Fetch the Kaggle training set with kagglehub (an optional extra) when no file is at hand."""

from pathlib import Path

from data_prep.faceset import DataError

COMPETITION = "facial-keypoints-detection"
BY_HAND = (
    f"download training.zip from https://www.kaggle.com/c/{COMPETITION}/data into data/raw/, "
    "or name a file with --input"
)


def download_kaggle() -> Path:
    """Folder with the competition's files. Raises DataError saying what to do where that cannot work."""
    try:
        import kagglehub
    except ImportError as error:
        raise DataError(f"kagglehub is not installed (pip install kagglehub==1.0.2); or {BY_HAND}") from error
    try:
        return Path(kagglehub.competition_download(COMPETITION))
    except Exception as error:  # kagglehub raises whatever its HTTP library does; none of it helps a user
        raise DataError(f"kagglehub could not download ({type(error).__name__}): {BY_HAND}") from error
