"""Which files a run works on, and the name that each one's results get."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oodinv.errors import ImageError

_SUFFIXES = ".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .gif .avif .jp2 .ppm .pgm .pbm .mpo"
SUFFIXES = frozenset(_SUFFIXES.split())
"""Suffixes, in lower case, that make a file in a folder an input. A file named on its own always is one."""


@dataclass(frozen=True)
class Job:
    """An input file and the relative path, without suffix, that its results are stored under."""

    path: Path
    name: str


def _walk(folder: Path, excluded: Path) -> Iterator[Path]:
    """Files below a folder in sorted order; links are followed, but no folder is entered twice."""
    seen: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        here = Path(root)
        stat = here.stat()
        if (stat.st_dev, stat.st_ino) in seen or here.resolve() == excluded:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        folders.sort()
        yield from (here / file for file in sorted(files))


def _found(inputs: list[Path], excluded: Path) -> Iterator[tuple[Path, Path]]:
    """(file, its path relative to the input it came from)."""
    for entry in inputs:
        if entry.is_dir():
            for path in _walk(entry, excluded):
                if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                    yield path, path.relative_to(entry)
        elif entry.exists() or entry.is_symlink():
            yield entry, Path(entry.name)
        else:
            raise ImageError(f"{entry}: no such file or folder; check the spelling")


def _unique_names(relative: list[Path]) -> list[str]:
    """Each path without its suffix; those that would collide, letter case aside, keep it and get a number.

    `a.0` collides with `a` too, whose faces may be called a.0, a.1, …
    """
    plain = [path.with_suffix("").as_posix() for path in relative]
    count = Counter(name.casefold() for name in plain)

    def is_shared(name: str) -> bool:
        stem, _, number = name.casefold().rpartition(".")
        return count[name.casefold()] > 1 or (number.isdigit() and stem in count)

    taken: set[str] = {name.casefold() for name in plain if not is_shared(name)}
    names = []
    for name, path in zip(plain, relative, strict=True):
        if is_shared(name):
            base = name = path.as_posix()
            number = 1
            while name.casefold() in taken:
                number += 1
                name = f"{base}-{number}"
            taken.add(name.casefold())
        names.append(name)
    return names


def collect(inputs: list[Path], output: Path) -> list[Job]:
    """The jobs for files and folders, in a fixed order. Folders are searched recursively, without `output`.

    Raises:
        ImageError: an input doesn't exist, or there is no picture among all of them.
    """
    pairs = dict.fromkeys(_found(inputs, output.resolve()))
    if not pairs:
        raise ImageError(f"no picture in {', '.join(map(str, inputs))}; looked for {', '.join(sorted(SUFFIXES))}")
    names = _unique_names([relative for _, relative in pairs])
    return [Job(path, name) for (path, _), name in zip(pairs, names, strict=True)]
