"""Locks that prevent two runs from writing to the same output folder.

Locks are filelock's: the operating system holds them and releases them when the process ends for any reason, so that a
killed run leaves a lock file behind, but no lock. A run removes its own files; stale ones are removed by the next run.
"""

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from oodinv.errors import OutputError

PREFIX = ".lock"
_GATE = f"{PREFIX}.gate"
_WHOLE = "whole"
_HOLDER = ".holder"
_POLL = 0.01  # seconds between attempts while a process waits at the gate


class Held:
    """A locked file until `release`, and a record of its holder beside it: Windows blocks reads of locked files."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path, self._lock, self._file = path, lock, path.stat()

    def is_in_place(self) -> bool:
        """True if the path still refers to the locked file, that is, it was neither removed nor replaced."""
        try:
            return os.path.samestat(self._file, self.path.stat())
        except OSError:
            return False

    def describe(self, part: str, plan: str) -> None:
        """Records the holder's process, host and start time, for the error message of other runs."""
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        record = {"pid": os.getpid(), "host": socket.gethostname(), "started": started, "part": part, "plan": plan}
        _holder(self.path).write_text(json.dumps(record))

    def release(self) -> None:
        """Removes the files, then unlocks. Safe to call twice."""
        if not self._lock.is_locked:
            return
        with suppress(OSError):  # Windows can't remove an open file; filelock does so when it is unlocked
            if self.is_in_place():
                _holder(self.path).unlink(missing_ok=True)
                self.path.unlink()
        self._lock.release()


def _holder(path: Path) -> Path:
    return path.with_name(path.name.replace(PREFIX, _HOLDER, 1))


def _acquire(path: Path, *, wait: bool) -> Held | None:
    """Locks a file, creating it if missing; returns None if another process holds the lock and `wait` is false."""
    lock = FileLock(path, thread_local=False, poll_interval=_POLL, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        return None
    return Held(path, lock)


@contextmanager
def gate(folder: Path) -> Iterator[None]:
    """Serialises short operations on a folder's locks: entering and leaving a run.

    Raises:
        OutputError: the folder can't be made or written, or its file system has no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = _acquire(folder / _GATE, wait=True)
    except OSError as error:
        raise _unusable(folder, error) from error
    assert held is not None
    try:
        yield
    finally:
        held.release()


class Claim:
    """Exclusive access of one run to a folder, or to one part of its inputs, until `release`."""

    def __init__(self, folder: Path, held: Held) -> None:
        self._folder, self._held = folder, held

    def verify(self) -> None:
        """Checks that the claimed folder is still in place.

        Raises:
            OutputError: it was removed or replaced.
        """
        if not self._held.is_in_place():
            raise OutputError(
                f"{self._folder}: the output folder, or {self._held.path.name} in it, was removed while the run went "
                "on; give the command again"
            )

    def release(self) -> None:
        """Gives up the claim. Safe to call twice."""
        self._held.release()


def claim(folder: Path, part: str | None = None, plan: str = "") -> Claim:
    """Claims a folder, or one `part` of it for a run that shares the folder with others of the same `plan`.

    Call it within `gate`. Removes stale lock files of runs that have ended.

    Raises:
        OutputError: another run holds a conflicting claim; the message names its process.
    """
    name = part or _WHOLE
    for path in _locks(folder):
        if _is_free(path):
            continue
        other = _description(path)
        shares = part not in (None, other.get("part")) and other.get("plan") == plan
        if not shares or other.get("part") == _WHOLE:
            raise OutputError(_in_use(folder, other, part))
    path = folder / f"{PREFIX}.{name}"
    held = _try(path)
    if held is None:
        raise OutputError(_in_use(folder, _description(path), part))
    try:
        held.describe(name, plan)
    except OSError as error:
        held.release()
        raise _unusable(folder, error) from error
    return Claim(folder, held)


def others(folder: Path, mine: str) -> list[str]:
    """Lists the parts of the folder, without `mine`, that runs in other processes hold. Call it within `gate`.

    Lock files of runs that have ended are removed on the way.
    """
    paths = [path for path in _locks(folder) if path.name != f"{PREFIX}.{mine}"]
    return [path.name.removeprefix(f"{PREFIX}.") for path in paths if not _is_free(path)]


def _locks(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{PREFIX}.*") if path.name != _GATE)


def _is_free(path: Path) -> bool:
    """True if no process holds the lock of this file; the file is then removed."""
    held = _try(path)
    if held is not None:
        held.release()
    return held is not None


def _try(path: Path) -> Held | None:
    try:
        return _acquire(path, wait=False)
    except OSError as error:
        raise _unusable(path.parent, error) from error


def _description(path: Path) -> dict[str, object]:
    try:
        record = json.loads(_holder(path).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _in_use(folder: Path, other: dict[str, object], part: str | None) -> str:
    who = f"process {other.get('pid', '?')} on {other.get('host', '?')}, started {other.get('started', '?')}"
    what = "another run" if other.get("part") in (None, _WHOLE) else f"the run of part {other['part']}"
    if part is not None and other.get("part") not in (None, _WHOLE, part):
        what += ", which shares the work in another way (count, batch size or inputs differ),"
    return f"{folder} is in use by {what} ({who}); wait until it ends, or choose another output folder"


def _unusable(folder: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"{folder}: can't be written ({reason}); check its permissions, or choose another folder")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"{folder}: can't be written ({reason}); free some space, or choose another folder")
    return OutputError(
        f"{folder}: no lock can be taken there ({reason}); choose a folder on a file system that has locks"
    )
