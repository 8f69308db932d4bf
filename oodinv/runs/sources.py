"""Which files a run works on, and the name that each one's results get."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oodinv.errors import ImageError

_SUFFIXES = ".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .gif .avif .jp2 .ppm .pgm .pbm .mpo"
SUFFIXES = frozenset(_SUFFIXES.split())
"""Suffixes, in lower case, that make a file in a folder an input. A file named on its own always is one."""


RESULT_FOLDERS = (
    "aligned",
    "latents",
    "flows",
    "masks",
    "generated",
    "composites",
    "pasted",
    "unedited",
    "strips",
    "inversion",
)
"""Folders that commands write below their output. What lies in them is never an input of the same command."""


@dataclass(frozen=True)
class Job:
    """An input file and the relative path, without suffix, that its results are stored under."""

    path: Path
    name: str


SHEET = "contact-sheet"
"""What the names of sheets begin with that commands write into their output; nor are these ever inputs."""


def _walk(folder: Path, excluded: frozenset[Path]) -> Iterator[Path]:
    """Files below a folder in sorted order, and sub-folders that can't be listed, which will fail by name.

    Links are followed, but no folder is entered twice.
    """
    seen: set[tuple[int, int]] = set()
    closed: list[Path] = []
    outputs = {path.parent for path in excluded}
    walk = os.walk(folder, followlinks=True, onerror=lambda error: closed.append(Path(str(error.filename))))
    for root, folders, files in walk:
        here = Path(root)
        stat = here.stat()
        if (stat.st_dev, stat.st_ino) in seen or here.resolve() in excluded:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        folders.sort()
        if here.resolve() in outputs:
            files = [file for file in files if not file.startswith(SHEET)]
        yield from (here / file for file in sorted(files) if _is_picture(here / file))
    yield from closed


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _found(inputs: list[Path], excluded: frozenset[Path]) -> Iterator[tuple[Path, Path]]:
    """(file, its path relative to the input it came from)."""
    for entry in inputs:
        place = Path(os.path.realpath(entry))  # `Path.resolve` raises on a loop of links
        if not excluded.isdisjoint((place, *place.parents)):
            raise ImageError(f"{entry}: lies where results go and would be replaced; choose another output folder")
        if entry.is_dir():
            yield from ((path, path.relative_to(entry)) for path in _walk(entry, excluded))
        elif entry.exists() or entry.is_symlink():
            yield entry, Path(entry.name)
        else:
            raise ImageError(f"{entry}: no such file or folder; check the spelling")


def _key(name: str) -> str:
    """Equal for names that some file system takes for the same: letter case and the spelling of accents differ."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _unique_names(relative: list[Path]) -> list[str]:
    """Each path without its suffix; those that would collide, letter case aside, keep it and get a number.

    `a.0` collides with `a` too, whose faces may be called a.0, a.1, …
    """
    plain = [path.with_suffix("").as_posix() for path in relative]
    count = Counter(map(_key, plain))

    def is_shared(name: str) -> bool:
        stem, _, number = _key(name).rpartition(".")
        return count[_key(name)] > 1 or (number.isdigit() and stem in count)

    taken: set[str] = {_key(name) for name in plain if not is_shared(name)}
    names = []
    last: Counter[str] = Counter()
    for name, path in zip(plain, relative, strict=True):
        if is_shared(name):
            base = name = path.as_posix()
            while _key(name) in taken:
                last[base] += 1
                name = f"{base}-{last[base] + 1}"
            taken.add(_key(name))
        names.append(name)
    return names


def collect(inputs: list[Path], output: Path) -> list[Job]:
    """The jobs for files and folders, in a fixed order. Folders are searched recursively, without results.

    Raises:
        ImageError: an input doesn't exist or lies among the results, or there is no picture among all of them.
    """
    excluded = frozenset(output.resolve() / name for name in RESULT_FOLDERS)
    try:
        pairs = dict.fromkeys(_found(inputs, excluded))
    except OSError as error:
        raise ImageError(f"{error.filename}: can't be looked at ({error.strerror}); check the input") from error
    if not pairs:
        raise ImageError(f"no picture in {', '.join(map(str, inputs))}; looked for {', '.join(sorted(SUFFIXES))}")
    names = _unique_names([relative for _, relative in pairs])
    return [Job(path, name) for (path, _), name in zip(pairs, names, strict=True)]
