"""The protocol of photo sources, and the jobs that runs work through."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Job:
    """An input file and the relative path, without suffix, that its results are stored under.

    unsupported: why files of this kind can't be used, where the name alone tells; such a file is never read. frame: the
    picture of a file that holds several, counted from 0; None for the first one, with a remark on the others.
    """

    path: Path
    name: str
    unsupported: str | None = None
    frame: int | None = None


@dataclass(frozen=True)
class Found:
    """A file that a source found: its path, and its path relative to the input that it belongs to."""

    path: Path
    relative: Path
    unsupported: str | None = None
    frame: int | None = None


@dataclass(frozen=True)
class Skipped:
    """A folder (with its path) or files that are left out without being an error, and why."""

    path: Path
    reason: str


class PhotoSource(Protocol):
    """Turns one input of the command line into files."""

    def accepts(self, entry: Path) -> bool:
        """Whether this source can open the input; the first of `SOURCES` that does is used."""
        ...

    def find(self, entry: Path, results: frozenset[Path]) -> Iterator[Found | Skipped]:
        """The files of an input in a fixed order.

        results: folders with results of the running command, which are no inputs.

        Raises:
            ImageError: the input can't be used at all. OSError: it can't be listed.
        """
        ...
