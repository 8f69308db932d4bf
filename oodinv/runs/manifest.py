"""The manifest of an output folder: a header, then one JSON line an image, appended last of all.

A line says that all outputs of an image are on disk. A torn last line, as a killed run leaves, is dropped.
Runs that share a folder each have a manifest of their own, manifest.PART.jsonl, until it is taken into the one.
"""

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, get_args

import oodinv
from oodinv.errors import ManifestError, OutputError
from oodinv.imaging.files import atomic_write

if TYPE_CHECKING:
    from oodinv.weights.build import Model

FILE_NAME = "manifest.jsonl"

MAX_HEADER = 1 << 24
"""Characters of a first line that may be a header: another program's manifest.jsonl can be of any form."""

_HASH = re.compile(r"[0-9a-f]{40,}")
_PART = re.compile(r"manifest\.\d+-of-\d+\.jsonl")

Status = Literal["done", "failed", "unsupported"]


@dataclass(frozen=True)
class Header:
    """What produced an output folder: results of another header can't be mixed with it."""

    oodinv: str
    command: str
    card: dict[str, Any]
    weights: dict[str, str]
    settings: dict[str, Any]


def header_of(command: str, model: "Model", settings: dict[str, Any]) -> Header:
    """The header of a run with a model: its card, its files' sha256, and what else changes results."""
    card = model.card.model_dump(mode="json", exclude_none=True)
    return Header(
        oodinv.__version__, command, card, {str(role): digest for role, digest in model.sha256.items()}, settings
    )


@dataclass(frozen=True)
class Entry:
    """The outcome of one input.

    name: its place below the output folders. outputs: paths of its files relative to the output folder. bytes: their
    sizes, in the same order; empty in manifests of versions that noted none. status: `unsupported` is a file of a
    kind that no reader opens. remarks: what was left out of a finished input. frame: which picture of
    a file with several it is, where it was chosen.
    """

    input: str
    name: str
    sha256: str | None
    status: Status
    outputs: list[str] = field(default_factory=list)
    error: str | None = None
    seconds: float = 0.0
    bytes: list[int] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    frame: int | None = None

    def is_complete(self, folder: Path) -> bool:
        """Whether all outputs are in the folder, with the sizes that they were written with."""
        if self.status != "done":
            return False
        sizes: Sequence[int | None] = self.bytes or [None] * len(self.outputs)
        try:
            return all(_has_size(folder / output, size) for output, size in zip(self.outputs, sizes, strict=True))
        except (OSError, ValueError):
            return False


def _has_size(path: Path, size: int | None) -> bool:
    """Whether a regular file is there, of this size; without one, whether it isn't empty."""
    found = path.stat()
    return stat.S_ISREG(found.st_mode) and (found.st_size > 0 if size is None else found.st_size == size)


def sizes(outputs: Iterable[str], folder: Path) -> list[int]:
    """Sizes in bytes of files that have just been written, for `Entry.bytes`.

    Raises:
        OutputError: one of them is gone already.
    """
    try:
        return [(folder / output).stat().st_size for output in outputs]
    except OSError as error:
        raise OutputError(f"{error.filename}: was removed while the run went on; give the command again") from error


def _line(record: Header | Entry) -> str:
    return json.dumps(asdict(record), ensure_ascii=True, sort_keys=False) + "\n"


def part_name(part: str) -> str:
    """File name of the manifest of one part of a shared run, such as 0-of-2."""
    return f"manifest.{part}.jsonl"


def part_names(folder: Path) -> list[str]:
    """The manifests of parts that lie in a folder, sorted."""
    return sorted(path.name for path in folder.glob("manifest.*.jsonl") if _PART.fullmatch(path.name))


def is_inside(relative: str) -> bool:
    """Whether a relative path can be a file's and, links aside, stays below the folder that it is relative to."""
    try:
        os.fsencode(relative)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell and no file system can
        return False
    path = PurePosixPath(relative)
    return (
        bool(relative)
        and "\0" not in relative
        and not path.is_absolute()
        and ".." not in path.parts
        and (os.name != "nt" or not {"\\", ":"} & set(relative))
    )


def _is_entry(entry: Entry) -> bool:
    """Whether every field has the type that it is declared with: a line of JSON can hold anything."""
    return (
        isinstance(entry.input, str)
        and isinstance(entry.name, str)
        and isinstance(entry.sha256, str | None)
        and entry.status in get_args(Status)
        and isinstance(entry.outputs, list)
        and all(isinstance(o, str) and is_inside(o) for o in entry.outputs)
        and isinstance(entry.error, str | None)
        and isinstance(entry.seconds, int | float)
        and isinstance(entry.bytes, list)
        and all(isinstance(size, int) for size in entry.bytes)
        and len(entry.bytes) in (0, len(entry.outputs))
        and isinstance(entry.remarks, list)
        and all(isinstance(remark, str) for remark in entry.remarks)
        and isinstance(entry.frame, int | None)
    )


def parse_entry(line: str) -> Entry | None:
    """An entry, or None for a line that is torn, garbage, or names files outside the folder."""
    try:
        entry = Entry(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    return entry if _is_entry(entry) else None


def _parse_header(line: str, path: Path) -> Header:
    try:
        header = Header(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        header = None
    if header is None or not all(isinstance(x, dict) for x in (header.card, header.weights, header.settings)):
        raise ManifestError(
            f"{path} has no readable header; it is damaged or not a manifest of oodinv: "
            "use --restart to start over, or another output folder"
        )
    return header


def command_of(folder: Path) -> str | None:
    """The command whose manifest a folder holds; None if it holds none, or somebody else's."""
    for name in (FILE_NAME, *part_names(folder)):
        try:
            with (folder / name).open(encoding="utf-8", errors="replace") as file:
                return _parse_header(file.readline(MAX_HEADER), folder / name).command
        except (OSError, ManifestError):
            continue
    return None


def read(folder: Path, file_name: str = FILE_NAME) -> tuple[Header, dict[str, Entry]] | None:
    """Header and the last entry of each input by name, or None where there is no manifest yet.

    Raises:
        ManifestError: the manifest can't be read or its header isn't one.
    """
    path = folder / file_name
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


def read_all(folder: Path) -> tuple[Header, dict[str, Entry]] | None:
    """As `read`, with what unfinished shares of a run have noted in manifests of their own."""
    header, entries = None, dict[str, Entry]()
    for name in (FILE_NAME, *part_names(folder)):
        if (found := read(folder, name)) is not None:
            header = header or found[0]
            entries |= found[1]
    return None if header is None else (header, entries)


def difference(old: Header, new: Header) -> str | None:
    """The first settings in which two headers differ, in words, or None if results of both may stand together."""
    changes = list(_changes(asdict(old), asdict(new), ""))
    if not changes:
        return None
    plain = [change for change in changes if change is not None] or ["other files of weights or directions"]
    return plain[0] + (f" and {len(plain) - 1} more" if len(plain) > 1 else "")


def _changes(old: dict[str, Any], new: dict[str, Any], prefix: str) -> Iterator[str | None]:
    """A change a leaf; None for a hash, which tells a reader nothing."""
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        name = key if key in ("settings", "recipe") else prefix + key
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _changes(before, after, "" if key in ("settings", "recipe") else f"{name}.")
        elif _is_hash(before) or _is_hash(after):
            yield None
        else:
            yield f"{name}: {_shown(before)} → {_shown(after)}"


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "nothing" if value is None or isinstance(value, dict) else str(value)


def refuse_other(folder: Path, old: Header, new: Header) -> None:
    """Makes sure that results of `new` may join those that a folder has.

    Raises:
        ManifestError: they were made otherwise.
    """
    if old.command != new.command:
        raise ManifestError(f"{folder} holds results of `oodinv {old.command}`; choose another output folder")
    if (change := difference(old, new)) is not None:
        raise ManifestError(
            f"{folder} holds results made otherwise ({change}); choose another output folder, or --restart to replace "
            "them"
        )


def check_output(folder: Path, header: Header) -> None:
    """Makes sure that a run may write to a folder, before anything is computed.

    Raises:
        ManifestError: the folder holds results that were made otherwise, or its manifest is damaged.
    """
    for name in (FILE_NAME, *part_names(folder)):
        if (found := read(folder, name)) is not None:
            refuse_other(folder, found[0], header)


def write(folder: Path, header: Header, entries: Iterable[Entry], file_name: str = FILE_NAME) -> None:
    """Replaces the manifest by a header and entries, in this order.

    Raises:
        OutputError: the file can't be written.
    """
    text = "".join([_line(header), *map(_line, entries)])
    atomic_write(folder / file_name, lambda file: file.write(text.encode()))


def append(folder: Path, entry: Entry, file_name: str = FILE_NAME) -> None:
    """Adds an entry to a manifest that is there and has it on disk before returning.

    Raises:
        OutputError: the file can't be written, or is gone.
    """
    path = folder / file_name
    try:
        with path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(_line(entry).encode())
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError as error:
        raise OutputError(f"{path}: was removed while the run went on; give the command again") from error
    except OSError as error:
        raise OutputError(
            f"{path}: can't be written ({error.strerror}); free the disk or choose another output folder"
        ) from error
