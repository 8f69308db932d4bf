"""The protocol of photo sources, and the jobs that runs work through."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Job:
    """An input file and the relative path, without suffix, that its results are stored under.

    unsupported: reason why files with this suffix can't be read; such a file is never opened. frame: index, counted
    from 0, of a frame in a multi-frame file; None for the first one, with a remark if there are others. crop,
    photo_sha256: of a photo that was inverted before, the first crop that was saved, and the photo's sha256; if the
    photo is missing, `path` is the crop.
    """

    path: Path
    name: str
    unsupported: str | None = None
    frame: int | None = None
    crop: Path | None = None
    photo_sha256: str | None = None


@dataclass(frozen=True)
class Found:
    """A file found by a source: its path, and its path relative to the input; other fields as in `Job`."""

    path: Path
    relative: Path
    unsupported: str | None = None
    frame: int | None = None


@dataclass(frozen=True)
class Skipped:
    """A folder, or files in it, that are skipped without an error, and the reason."""

    path: Path
    reason: str


class PhotoSource(Protocol):
    """Finds the files of one input of the command line."""

    def accepts(self, entry: Path) -> bool:
        """True if this source can open the input; the first match in `SOURCES` is used."""
        ...

    def find(self, entry: Path, results: frozenset[Path]) -> Iterator[Found | Skipped]:
        """Yields the files of an input in a fixed order.

        results: folders with results of the running command, which are skipped.

        Raises:
            ImageError: the input can't be used at all. OSError: it can't be listed.
        """
        ...
