"""Fetch a data set when no file is at hand: Kaggle's with kagglehub (an optional extra), Udacity's from its address."""

import hashlib
import zipfile
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from data_prep.faceset import DataError
from data_prep.sources import sha256_of

COMPETITION = "facial-keypoints-detection"
BY_HAND = (
    f"download training.zip from https://www.kaggle.com/c/{COMPETITION}/data into data/raw/, "
    "or name a file with --input"
)
# Named by Udacity's course (github.com/udacity/P1_Facial_Keypoints). No hash is pinned here: this project was made
# offline and has never seen the file. Its first download prints the hash, for `--sha256` from then on.
YOUTUBE68_URL = (
    "https://s3.amazonaws.com/video.udacity-data.com/topher/2018/May/5aea1b91_train-test-data/train-test-data.zip"
)
CHUNK = 1 << 20


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


def download_youtube68(folder: Path, sha256: str | None = None, url: str | None = None) -> Path:
    """youtube68.zip in `folder`: as it is where it is there, else fetched. Prints its SHA-256.

    sha256: what it must be. A file fetched just now that has another, or is no zip, is not kept. Raises DataError in
    these cases, and where nothing, or a part only, can be fetched.
    """
    target = folder / "youtube68.zip"
    found = sha256_of([target]) if target.is_file() else None
    if found and sha256 and found != sha256.lower():
        raise DataError(f"{target} has the SHA-256 {found}, not {sha256}; remove it to fetch it again")
    found = found or _fetch(url or YOUTUBE68_URL, target, sha256)
    print(f"{target}: SHA-256 {found}{'' if sha256 else ' (not checked: no --sha256 was given)'}")
    return target


def _fetch(url: str, target: Path, sha256: str | None) -> str:
    """Download to `target`, aside first; returns the SHA-256."""
    from tqdm import tqdm

    target.parent.mkdir(parents=True, exist_ok=True)
    aside, digest = target.with_name(f"{target.name}.partial"), hashlib.sha256()
    try:
        with urlopen(url, timeout=60) as answer, open(aside, "wb") as file:
            size = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(total=size, unit="B", unit_scale=True, desc=target.name, disable=None) as bar:
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
            if size and file.tell() != size:
                raise DataError(f"{url}: {file.tell():,} of {size:,} bytes came; try again")
        found = digest.hexdigest()
        if sha256 and found != sha256.lower():
            raise DataError(f"{url}: its SHA-256 is {found}, not {sha256}; the file was not kept")
        if not zipfile.is_zipfile(aside):  # such as the page of a network that asks for a login first
            raise DataError(f"{url}: what came is no zip ({aside.stat().st_size:,} bytes); the file was not kept")
        aside.rename(target)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{url} cannot be downloaded ({error}); fetch it by hand and name it with --input") from error
    finally:
        aside.unlink(missing_ok=True)
    return found
