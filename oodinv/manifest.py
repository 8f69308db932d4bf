"""The manifest of an output folder: a header, then one JSON line an image, appended last of all.

A line says that all outputs of an image are on disk. A torn last line, as a killed run leaves, is dropped.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from oodinv.errors import ManifestError
from oodinv.image import atomic_write

FILE_NAME = "manifest.jsonl"

Status = Literal["done", "failed"]


@dataclass(frozen=True)
class Header:
    """What produced an output folder: results of another header can't be mixed with it."""

    oodinv: str
    command: str
    card: dict[str, Any]
    weights: dict[str, str]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """What became of one input. `name` is its place below the output folders, `outputs` are relative to it."""

    input: str
    name: str
    sha256: str | None
    status: Status
    outputs: list[str] = field(default_factory=list)
    error: str | None = None
    seconds: float = 0.0


def _line(record: Header | Entry) -> str:
    return json.dumps(asdict(record), ensure_ascii=True, sort_keys=False) + "\n"


def is_inside(relative: str) -> bool:
    """Whether a relative path stays below the folder that it is relative to."""
    path = PurePosixPath(relative)
    return (
        bool(relative)
        and not path.is_absolute()
        and ".." not in path.parts
        and (os.name != "nt" or "\\" not in relative)
    )


def parse_entry(line: str) -> Entry | None:
    """An entry, or None for a line that is torn, garbage, or names files outside the folder."""
    try:
        record = json.loads(line)
        entry = Entry(**record)
    except (ValueError, TypeError, RecursionError):
        return None
    texts = isinstance(entry.input, str) and isinstance(entry.name, str)
    if not texts or entry.status not in ("done", "failed") or not isinstance(entry.outputs, list):
        return None
    if not all(isinstance(o, str) and is_inside(o) for o in entry.outputs):
        return None
    return entry


def _parse_header(line: str, path: Path) -> Header:
    try:
        return Header(**json.loads(line))
    except (ValueError, TypeError, RecursionError) as error:
        raise ManifestError(
            f"{path} has no readable header; it is damaged or not a manifest of oodinv: "
            "use --restart to start over, or another output folder"
        ) from error


def read(folder: Path) -> tuple[Header, dict[str, Entry]] | None:
    """Header and the last entry of each input by name, or None where there is no manifest yet.

    Raises:
        ManifestError: the manifest can't be read or its header isn't one.
    """
    path = folder / FILE_NAME
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ManifestError(f"can't read {path}: {error.strerror}; choose another output folder") from error
    if not lines:
        return None
    header = _parse_header(lines[0], path)
    entries = (parse_entry(line) for line in lines[1:])
    return header, {e.name: e for e in entries if e is not None}


def difference(old: Header, new: Header) -> str | None:
    """What differs between two headers, in words, or None if results of both may stand together."""
    a, b = asdict(old), asdict(new)
    for key in a:
        if a[key] == b[key]:
            continue
        if isinstance(a[key], dict) and isinstance(b[key], dict):
            inner = sorted(k for k in {*a[key], *b[key]} if a[key].get(k) != b[key].get(k))
            changes = ", ".join(f"{k}: {a[key].get(k)!r} → {b[key].get(k)!r}" for k in inner)
            return f"{key} ({changes})"
        return f"{key}: {a[key]!r} → {b[key]!r}"
    return None


def write(folder: Path, header: Header, entries: Iterable[Entry]) -> None:
    """Replaces the manifest by a header and entries, in this order."""
    text = "".join([_line(header), *map(_line, entries)])
    atomic_write(folder / FILE_NAME, lambda file: file.write(text.encode()))


def append(folder: Path, entry: Entry) -> None:
    """Adds an entry and has it on disk before returning.

    Raises:
        ManifestError: the file can't be written.
    """
    path = folder / FILE_NAME
    try:
        with path.open("ab") as file:
            file.write(_line(entry).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ManifestError(
            f"can't write {path}: {error.strerror}; free the disk or choose another output folder"
        ) from error
