"""Where faces come from: one module per file format, each with `read(path, ...) -> Source`."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data_prep.faceset import FaceSet


@dataclass(frozen=True)
class Source:
    """What a reader returns.

    faces: everything usable, in file order. `groups` holds what the format itself tells (a person, where file
        names name one), else a group per face.
    sha256: of the file that was read, see `sha256_of`.
    skipped: one line for each row or file left out: which one and why.
    persons_known: whether `groups` are persons. Where they are not, `data_prep.grouping` looks for relatives.
    """

    faces: FaceSet
    sha256: str
    skipped: tuple[str, ...] = ()
    persons_known: bool = False


def sha256_of(paths: Iterable[Path]) -> str:
    """Hash of one file's bytes; of several: of their names and hashes, in the order given."""
    paths = list(paths)
    digests = [_sha256(path) for path in paths]
    if len(paths) == 1:
        return digests[0]
    listing = "\n".join(f"{path.name} {digest}" for path, digest in zip(paths, digests, strict=True))
    return hashlib.sha256(listing.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
