"""A single file, named on the command line; its suffix is not checked."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oodinv.runs.sources.base import Found, Skipped


@dataclass(frozen=True)
class SingleFile:
    """Accepts every existing path, including broken links, which fail with their name when they are read."""

    def accepts(self, entry: Path) -> bool:
        """True if the path exists, even as a broken link."""
        return entry.exists() or entry.is_symlink()

    def find(self, entry: Path, results: frozenset[Path]) -> Iterator[Found | Skipped]:  # noqa: ARG002
        """Yields the file."""
        yield Found(entry, Path(entry.name))


FILE = SingleFile()
