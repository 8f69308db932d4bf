"""The manifest of an output folder: a header, then one JSON line for each image.

A line is appended only after all outputs of its image are on disk. An incomplete last line, left by a killed run, is
dropped. Runs that share a folder each write their own manifest.PART.jsonl, which is later merged into manifest.jsonl.
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
"""Longest first line, in characters, that is parsed as a header: another program's manifest.jsonl may hold anything."""

_HASH = re.compile(r"[0-9a-f]{40,}")
_PART = re.compile(r"manifest\.\d+-of-\d+\.jsonl")

Status = Literal["done", "failed", "unsupported"]


@dataclass(frozen=True)
class Header:
    """Version, command, model and settings of a run. Results with different headers can't share a folder."""

    oodinv: str
    command: str
    card: dict[str, Any]
    weights: dict[str, str]
    settings: dict[str, Any]


def header_of(command: str, model: "Model", settings: dict[str, Any]) -> Header:
    """Builds the header of a run with a model: its card, the sha256 of its files, and settings that change results."""
    card = model.card.model_dump(mode="json", exclude_none=True)
    return Header(
        oodinv.__version__, command, card, {str(role): digest for role, digest in model.sha256.items()}, settings
    )


@dataclass(frozen=True)
class Entry:
    """The outcome of one input.

    name: result name below the output folders. outputs: paths of its files relative to the output folder. bytes: file
    sizes in the same order; empty in manifests of versions that recorded none. status: `unsupported` is a file type
    that no reader opens. remarks: warnings about a finished input, such as skipped faces. frame: index of the frame in
    a multi-frame file, if one was selected.
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
        """True if all outputs exist in the folder with their recorded sizes."""
        if self.status != "done":
            return False
        sizes: Sequence[int | None] = self.bytes or [None] * len(self.outputs)
        try:
            return all(_has_size(folder / output, size) for output, size in zip(self.outputs, sizes, strict=True))
        except (OSError, ValueError):
            return False


def _has_size(path: Path, size: int | None) -> bool:
    """True if path is a regular file of this size; with size None, a regular file that isn't empty."""
    found = path.stat()
    return stat.S_ISREG(found.st_mode) and (found.st_size > 0 if size is None else found.st_size == size)


def sizes(outputs: Iterable[str], folder: Path) -> list[int]:
    """Returns the sizes in bytes of files that were just written, for `Entry.bytes`.

    Raises:
        OutputError: a file no longer exists.
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
    """Lists the part manifests in a folder, sorted by name."""
    return sorted(path.name for path in folder.glob("manifest.*.jsonl") if _PART.fullmatch(path.name))


def is_inside(relative: str) -> bool:
    """True if a relative path is a valid file path that stays below its folder (symbolic links are not followed)."""
    try:
        os.fsencode(relative)
    except UnicodeEncodeError:  # a lone surrogate: valid in JSON, invalid on file systems
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
    """True if every field of a parsed JSON line has its declared type."""
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
    """Parses an entry; returns None if the line is incomplete, invalid, or names files outside the folder."""
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
    """Returns the oodinv command that wrote a folder's manifest; None without a manifest of oodinv."""
    for name in (FILE_NAME, *part_names(folder)):
        try:
            with (folder / name).open(encoding="utf-8", errors="replace") as file:
                return _parse_header(file.readline(MAX_HEADER), folder / name).command
        except (OSError, ManifestError):
            continue
    return None


def read(folder: Path, file_name: str = FILE_NAME) -> tuple[Header, dict[str, Entry]] | None:
    """Returns the header and the last entry of each input by name, or None if there is no manifest yet.

    Raises:
        ManifestError: the manifest can't be read or its header is invalid.
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
    """Like `read`, but also includes the part manifests of unfinished shards."""
    header, entries = None, dict[str, Entry]()
    for name in (FILE_NAME, *part_names(folder)):
        if (found := read(folder, name)) is not None:
            header = header or found[0]
            entries |= found[1]
    return None if header is None else (header, entries)


def difference(old: Header, new: Header) -> str | None:
    """Describes the first settings in which two headers differ; None if their results may share a folder."""
    changes = list(_changes(asdict(old), asdict(new), ""))
    if not changes:
        return None
    plain = [change for change in changes if change is not None] or ["other files of weights or directions"]
    return plain[0] + (f" and {len(plain) - 1} more" if len(plain) > 1 else "")


def _changes(old: dict[str, Any], new: dict[str, Any], prefix: str) -> Iterator[str | None]:
    """Yields one change for each differing leaf; None in place of hashes, which are not shown."""
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
    """Checks that results with header `new` may be added to those of a folder with header `old`.

    Raises:
        ManifestError: the folder's results were made with other settings.
    """
    if old.command != new.command:
        raise ManifestError(f"{folder} holds results of `oodinv {old.command}`; choose another output folder")
    if (change := difference(old, new)) is not None:
        raise ManifestError(
            f"{folder} holds results made with other settings ({change}); choose another output folder, or --restart "
            "to replace them"
        )


def refuse_among_results(folder: Path) -> None:
    """Checks that an output folder is none of those in which another run keeps its results, such as OUT/aligned.

    Raises:
        ManifestError: it is, or lies in one.
    """
    place = folder.resolve()
    for parent in place.parents:
        if (command := command_of(parent)) is None:
            continue
        try:
            _, entries = read_all(parent) or (None, {})
        except ManifestError:
            continue  # a damaged manifest lists no results
        kinds = {PurePosixPath(output).parts[0] for entry in entries.values() for output in entry.outputs}
        if place.relative_to(parent).parts[0] in kinds:
            raise ManifestError(
                f"{folder} lies among the results of `oodinv {command}` in {parent}; choose another output folder"
            )


def check_output(folder: Path, header: Header) -> None:
    """Checks before computing anything that a run may write to a folder.

    Raises:
        ManifestError: the folder holds results made with other settings or lies among those of another run, or its
            manifest is damaged.
    """
    refuse_among_results(folder)
    for name in (FILE_NAME, *part_names(folder)):
        if (found := read(folder, name)) is not None:
            refuse_other(folder, found[0], header)


def write(folder: Path, header: Header, entries: Iterable[Entry], file_name: str = FILE_NAME) -> None:
    """Replaces the manifest by a header followed by entries.

    Raises:
        OutputError: the file can't be written.
    """
    text = "".join([_line(header), *map(_line, entries)])
    atomic_write(folder / file_name, lambda file: file.write(text.encode()))


def append(folder: Path, entry: Entry, file_name: str = FILE_NAME) -> None:
    """Appends an entry to an existing manifest and flushes it to disk before returning.

    Raises:
        OutputError: the file can't be written or no longer exists.
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
