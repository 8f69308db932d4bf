"""Writes of files that are whole or absent."""

import errno
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from oodinv.errors import ImageError, OutputError


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Lets `write` fill a temporary file beside path and renames it, so that path is whole or absent.

    Missing folders are made. The temporary name follows from path alone: a run that was killed while writing
    leaves one behind, and its successor writes over it. So two threads must not write one path at once.

    Raises:
        OutputError: the operating system refuses (no space, no permission, a file where a folder should be).
        ImageError: this one name is too long for the file system.
    """
    digest = hashlib.sha256(path.name.encode(errors="surrogateescape")).hexdigest()
    temporary = path.with_name(f".{digest[:16]}.tmp")  # short, so that long names fit
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                write(file)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.ENAMETOOLONG:
            raise ImageError(f"{path}: can't be written ({reason}); give the photo a shorter name") from error
        raise OutputError(f"{path}: can't be written ({reason}); check the free space and permissions") from error


def write_npz(path: Path, **arrays: NDArray[Any]) -> None:
    """Writes named arrays as an uncompressed .npz; the same arrays give the same bytes.

    Raises:
        OutputError, ImageError: see `atomic_write`.
    """
    atomic_write(path, lambda file: np.savez(file, allow_pickle=False, **arrays))
