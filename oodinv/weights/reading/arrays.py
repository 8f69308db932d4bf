"""Reads NumPy's files, .npy and .npz, as tensors. Pickled objects in them are refused."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oodinv.errors import WeightsError
from oodinv.weights.reading.damage import ARCHIVE_DAMAGE, NUMPY_DAMAGE

NPY_MAGIC = b"\x93NUMPY"
MAX_BYTES = 1 << 30
"""Upper bound on the unpacked size of an archive; larger claims are rejected."""


def is_npy(path: Path) -> bool:
    """True if a file starts as .npy files do; False also if it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(NPY_MAGIC)) == NPY_MAGIC
    except OSError:
        return False


def read_npy(path: Path) -> Tensor:
    """Reads the array of a .npy file.

    Raises:
        WeightsError: it is damaged, or holds something other than numbers.
    """
    try:  # a memory map allocates nothing for a shape that the file has too few bytes for
        return _tensor(np.load(path, mmap_mode="r", allow_pickle=False), str(path))
    except NUMPY_DAMAGE as error:
        raise _unreadable(path, error) from error


def read_npz(path: Path) -> dict[str, Tensor] | None:
    """Reads the arrays of an .npz file by name; returns None if the file is not an archive of arrays.

    Raises:
        WeightsError: it is damaged, expands to more than MAX_BYTES, or holds something other than numbers.
    """
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        if not entries or not all(entry.filename.endswith(".npy") for entry in entries):
            return None
        if sum(entry.file_size for entry in entries) > MAX_BYTES:
            raise WeightsError(f"{path}: expands to more than {MAX_BYTES >> 20} MiB, too much for directions or codes")
        with np.load(path, allow_pickle=False) as file:
            return {name: _tensor(file[name], f"{path}, {name}") for name in file.files}
    except (KeyError, *ARCHIVE_DAMAGE, *NUMPY_DAMAGE) as error:
        raise _unreadable(path, error) from error


def _tensor(array: Any, where: str) -> Tensor:
    if not isinstance(array, np.ndarray):  # NumPy returns the bytes of archive members that are not .npy files
        raise ValueError("it has a member that is not an array")
    if array.dtype.kind not in "fiub":
        raise WeightsError(f"{where}: holds {array.dtype}; expected numbers")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _unreadable(path: Path, error: Exception) -> WeightsError:
    if "object" in str(error).lower():  # NumPy has no class of its own for this error
        return WeightsError(
            f"{path}: refused: it holds pickled Python objects. Nothing in it was run. Save plain arrays, a file each"
        )
    kind = ".npy" if is_npy(path) else ".npz"
    return WeightsError(f"{path}: is a damaged {kind} file ({error}); get it again")
