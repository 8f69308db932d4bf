"""Collects the input files of a run and gives each a unique result name."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from oodinv.errors import ImageError
from oodinv.imaging.decode import count_frames
from oodinv.imaging.formats import READABLE_SUFFIXES
from oodinv.runs.pipeline import read_bytes
from oodinv.runs.sinks import output_names
from oodinv.runs.sources import SOURCES
from oodinv.runs.sources.base import Found, Job, Skipped

RESULT_FOLDERS = (
    "aligned",
    *output_names(),
    "unedited",
    "strips",
    "inversion",
)
"""Sub-folders that commands write to below their output folder; their files are never inputs of the same command."""


@dataclass(frozen=True)
class Collected:
    """Jobs in a fixed order, with unsupported files last, and notes on skipped files and folders."""

    jobs: list[Job]
    notes: tuple[str, ...]


def collect(inputs: list[Path], output: Path | None = None) -> list[Job]:
    """Returns the jobs of `look_through` without its notes."""
    return look_through(inputs, output).jobs


def look_through(inputs: list[Path], output: Path | None = None, *, frames: bool = False) -> Collected:
    """Finds photos in files and folders. Folders are searched recursively, skipping results of oodinv.

    output: the folder for results, if any are written. frames: for a file with several frames, makes one job for each,
    named NAME.frameN, instead of one for the first.

    Raises:
        ImageError: an input doesn't exist or lies among the results, the output lies in an input or holds one, or
            there is no picture among all inputs.
    """
    results = frozenset() if output is None else frozenset(output.resolve() / name for name in RESULT_FOLDERS)
    try:
        items = list(dict.fromkeys(_items(inputs, output, results)))
    except OSError as error:
        raise ImageError(f"{error.filename}: can't be looked at ({error.strerror}); check the input") from error
    found = [item for item in items if isinstance(item, Found)]
    notes = tuple(f"{item.path}: {item.reason}" for item in items if isinstance(item, Skipped))
    if not found:
        raise ImageError(
            f"no picture in {', '.join(map(str, inputs))}; looked for {', '.join(sorted(READABLE_SUFFIXES))}"
            + "".join(f"\n{note}" for note in notes)
        )
    photos = [item for item in found if item.unsupported is None]
    if frames:
        photos = [one for item in photos for one in _frames(item)]
    names = _unique_names([item.relative for item in photos])
    jobs = [Job(item.path, name, frame=item.frame) for item, name in zip(photos, names, strict=True)]
    return Collected([*jobs, *_unsupported([item for item in found if item.unsupported is not None], names)], notes)


def _frames(item: Found) -> list[Found]:
    """Splits a multi-frame file into one item for each frame; returns a single-frame or unreadable file unchanged."""
    try:
        count = count_frames(read_bytes(item.path), item.path)
    except ImageError:
        return [item]  # the run reports the error
    if count == 1:
        return [item]
    digits, plain = len(str(count - 1)), item.relative
    return [
        replace(item, relative=plain.with_name(f"{plain.stem}.frame{n:0{digits}}{plain.suffix}"), frame=n)
        for n in range(count)
    ]


def _unsupported(found: list[Found], taken: list[str]) -> Iterator[Job]:
    """Makes jobs for unsupported files, named with their suffix; they come last, so that batches don't change."""
    keys = set(map(_key, taken))
    for item in found:
        base = name = item.relative.as_posix()
        number = 1
        while _key(name) in keys:
            number += 1
            name = f"{base}-{number}"
        keys.add(_key(name))
        yield Job(item.path, name, item.unsupported)


def _items(inputs: list[Path], output: Path | None, results: frozenset[Path]) -> Iterator[Found | Skipped]:
    for entry in inputs:
        place = Path(os.path.realpath(entry))  # `Path.resolve` raises on a loop of links
        if not results.isdisjoint((place, *place.parents)):
            raise ImageError(f"{entry}: lies where results go and would be replaced; choose another output folder")
        if output is not None and entry.is_dir() and output.resolve().is_relative_to(place):
            raise ImageError(
                f"{output}: the output folder lies in the input {entry}, so that results would be taken for photos; "
                "choose an output folder outside of it"
            )
        if output is not None and entry.is_file() and output.resolve() == place.parent:
            raise ImageError(
                f"{output}: the output folder is that of the photo {entry}, which could not be an input any more; "
                "choose another output folder"
            )
        source = next((source for source in SOURCES if source.accepts(entry)), None)
        if source is None:
            raise ImageError(f"{entry}: no such file or folder; check the spelling")
        yield from source.find(entry, results)


def _key(name: str) -> str:
    """Normalises case and Unicode form, so that names that collide on some file system get equal keys."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _unique_names(relative: list[Path]) -> list[str]:
    """Names each path without its suffix; colliding names (ignoring case) include the suffix and, if needed, a number.

    `a.0` also collides with `a`, because the faces of `a` may be named a.0, a.1, …
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
