"""A folder, searched recursively for pictures.

Hidden and system folders, and folders that hold results of oodinv, are left out.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oodinv.errors import ImageError
from oodinv.imaging.formats import UNSUPPORTED_SUFFIXES, suffix_kind
from oodinv.runs.manifest import command_of
from oodinv.runs.sources.base import Found, Skipped

SYSTEM_FOLDERS = frozenset(
    {
        "@eadir",
        "@tmp",
        "@recycle",
        "@recently-snapshot",
        "@sharebin",
        "@sharesnap",
        "@synoeastream",
        "@synoresource",
        "@__thumb",
        "_vti_cnf",
        "~snapshot",
        "#recycle",
        "#snapshot",
        "__macosx",
        "$recycle.bin",
        "recycler",
        "recycled",
        "system volume information",
        "lost+found",
        "lost.dir",
        "ipod photo cache",
        "network trash folder",
        "temporary items",
    }
)
"""Case-folded names of system folders for thumbnails, snapshots, deleted and recovered files."""
_LIBRARIES = (".photoslibrary", ".photolibrary", ".migratedphotolibrary", ".aplibrary")
"""Suffixes of folders in which Apple's programs keep photos beside their own copies of them."""
_COPIES = frozenset({"resources", "thumbnails", "previews", "database", "private", "scopes", "internal"})
"""Case-folded names of the folders of such a library that hold no originals."""
_CACHES = (".lrdata",)
"""Suffixes of folders with previews alone."""
_RECOVERED = re.compile(r"found\.\d{3}")  # Windows numbers them

SHEET = "contact-sheet"
"""Prefix of the contact sheets that commands write into their output; these are never inputs."""


@dataclass(frozen=True)
class Folder:
    """Searches a folder. Links are followed, but no folder is entered twice."""

    def accepts(self, entry: Path) -> bool:
        """True if the input is a folder."""
        return entry.is_dir()

    def find(self, entry: Path, results: frozenset[Path]) -> Iterator[Found | Skipped]:
        """Yields pictures in sorted order, unreadable sub-folders (which fail with their name), and skipped items.

        Raises:
            ImageError: the folder holds results of oodinv other than crops.
        """
        command = command_of(entry)
        if command not in (None, "align"):
            raise ImageError(
                f"{entry}: holds results of `oodinv {command}`, not photos; name the photos that it was made of, or "
                f"one of its folders, such as {entry / 'aligned'} with --aligned"
            )
        others: Counter[str] = Counter()
        yield from _walk(entry, entry, results, others)
        if others:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
            yield Skipped(entry, f"{sum(others.values())} other files were ignored ({kinds})")


FOLDER = Folder()


def _walk(folder: Path, root: Path, results: frozenset[Path], others: Counter[str]) -> Iterator[Found | Skipped]:
    """Implements `Folder.find`; `others` counts ignored files by suffix."""
    seen: set[tuple[int, int]] = set()
    closed: list[Path] = []
    outputs = {path.parent for path in results}
    walk = os.walk(folder, followlinks=True, onerror=lambda error: closed.append(Path(str(error.filename))))
    for name, folders, files in walk:
        here = Path(name)
        stat = here.stat()
        if (stat.st_dev, stat.st_ino) in seen or here.resolve() in results:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        if here != root and (command := command_of(here)) is not None:
            folders.clear()
            yield Skipped(here, f"holds results of `oodinv {command}`")
            continue
        folders[:] = sorted(name for name in folders if not _is_system(name, here))
        if here.resolve() in outputs:
            files = [file for file in files if not file.startswith(SHEET)]
        for file in sorted(files):
            if (found := _look_at(here / file, root)) is not None:
                yield found
            elif not file.startswith("."):
                others[Path(file).suffix.lower() or "without suffix"] += 1
    yield from (Found(path, path.relative_to(root)) for path in closed)


def _is_system(name: str, parent: Path) -> bool:
    """True if the name belongs to a hidden or system folder, or to one with copies that a program made."""
    plain = name.casefold()
    if parent.name.casefold().endswith(_LIBRARIES) and plain in _COPIES:
        return True
    named = plain in SYSTEM_FOLDERS or _RECOVERED.fullmatch(plain) is not None
    return named or name.startswith(".") or plain.endswith(_CACHES)


def _look_at(path: Path, root: Path) -> Found | None:
    """Returns a picture, or an image file of an unsupported type; None for hidden and other files."""
    kind = suffix_kind(path)
    if path.name.startswith(".") or kind == "other":
        return None
    if kind == "readable":
        return Found(path, path.relative_to(root))
    suffix = path.suffix.lower()
    reason = f"{path}: {suffix} files can't be read; {UNSUPPORTED_SUFFIXES[suffix]}"
    return Found(path, path.relative_to(root), reason)
