"""Writes files atomically: complete or not at all."""

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from oodinv.errors import ImageError, OutputError

TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.[0-9a-f]{8}\.tmp")
"""Names of the temporary files of `atomic_write`: a killed process leaves one behind."""
REFUSED_NAMES = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
"""Errors of file systems for unsupported names: too long, with a colon on exFAT, not UTF-8 on APFS."""


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Calls `write` for a temporary file beside path, then renames it, so that path is complete or absent.

    Creates missing folders. Each call has its own temporary file, so that processes don't interfere. File and folder
    are synchronised to disk, so that a manifest line written later is true after a power failure.

    Raises:
        OutputError: the operating system refuses (no space, no permission, a file where a folder should be).
        ImageError: the file system doesn't support this name.
    """
    digest = hashlib.sha256(path.name.encode(errors="surrogateescape")).hexdigest()
    temporary = path.with_name(f".{digest[:16]}.{secrets.token_hex(4)}.tmp")  # short, so that long names fit
    try:
        _named(path, lambda: path.parent.mkdir(parents=True, exist_ok=True), lambda: True)
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            _named(path, lambda: temporary.replace(path), temporary.exists)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path}: can't be written ({reason}); check the free space and permissions") from error


def _named(path: Path, action: Callable[[], object], possible: Callable[[], bool]) -> None:
    """Runs an operation that creates a file or folder named path.

    possible: whether everything else that the operation needs is there. If it is, "no such file" is about the name:
    exFAT through FUSE reports unsupported names so.

    Raises:
        ImageError: the file system doesn't support the name. OSError: anything else.
    """
    try:
        action()
    except OSError as error:
        if error.errno not in REFUSED_NAMES and not (error.errno == errno.ENOENT and possible()):
            raise
        reason = error.strerror or str(error)
        raise ImageError(
            f"{path}: the file system of the output can't hold this name ({reason}); rename the photo: shorter, and "
            "without characters such as : ? *"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Synchronises a folder's entries to disk, if the file system supports that."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def readable(text: str) -> str:
    """Escapes what UTF-8 can't represent: bytes of file names that aren't UTF-8 become \\udcXX."""
    return text.encode(errors="backslashreplace").decode()


def write_text(path: Path, text: str) -> None:
    """Writes text in UTF-8, escaped by `readable`.

    Raises:
        OutputError, ImageError: see `atomic_write`.
    """
    content = readable(text).encode()
    atomic_write(path, lambda file: file.write(content))


def write_npz(path: Path, **arrays: NDArray[Any]) -> None:
    """Writes named arrays as an uncompressed .npz; the same arrays give the same bytes.

    Raises:
        OutputError, ImageError: see `atomic_write`.
    """
    # newer numpy has a parameter `allow_pickle` of savez, which its types confuse with the arrays
    atomic_write(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
