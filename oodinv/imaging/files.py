"""Writes of files that are whole or absent."""

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
_REFUSED_NAMES = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
"""What file systems answer to names that they can't hold: too long, with a colon on exFAT, not UTF-8 on APFS."""


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Lets `write` fill a temporary file beside path and renames it, so that path is whole or absent.

    Missing folders are made. Each call has a temporary file of its own, so processes can't tear each other's files.
    File and folder are on the disk when this returns, so that a manifest line written later is true after a power
    failure.

    Raises:
        OutputError: the operating system refuses (no space, no permission, a file where a folder should be).
        ImageError: the file system can't hold this one name.
    """
    digest = hashlib.sha256(path.name.encode(errors="surrogateescape")).hexdigest()
    temporary = path.with_name(f".{digest[:16]}.{secrets.token_hex(4)}.tmp")  # short, so that long names fit
    try:
        _named(path, lambda: path.parent.mkdir(parents=True, exist_ok=True))
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            _named(path, lambda: temporary.replace(path))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path}: can't be written ({reason}); check the free space and permissions") from error


def _named(path: Path, action: Callable[[], object]) -> None:
    """Does what gives a file or folder the name of path.

    Raises:
        ImageError: the file system can't hold the name. OSError: anything else.
    """
    try:
        action()
    except OSError as error:
        if error.errno not in _REFUSED_NAMES:
            raise
        reason = error.strerror or str(error)
        raise ImageError(
            f"{path}: the file system of the output can't hold this name ({reason}); rename the photo: shorter, and "
            "without characters such as : ? *"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Puts a folder's list of files on the disk, where its file system can do that."""
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
    """The text with what UTF-8 can't hold spelled out: bytes of file names that aren't UTF-8 become \\udcXX."""
    return text.encode(errors="backslashreplace").decode()


def write_text(path: Path, text: str) -> None:
    """Writes text in UTF-8, as `readable` makes it.

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
    atomic_write(path, lambda file: np.savez(file, allow_pickle=False, **arrays))
