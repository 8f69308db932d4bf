"""Reads arrays of other projects from .npy, .npz, .pt, .pkl and .safetensors files; no pickled code is executed."""

import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from oodinv.errors import MissingWeights, WeightsError
from oodinv.weights.reading.damage import ARCHIVE_DAMAGE, NUMPY_DAMAGE
from oodinv.weights.reading.read import read_values

NUMPY_MAGIC = b"\x93NUMPY"
MAX_BYTES = 1 << 30
"""Upper bound on the unpacked size; larger claims are rejected."""


def only_tensor(values: Any) -> Any:
    """The tensor of a dict or list that holds just one beside plain settings, else the values as they are."""
    items = list(values.values()) if isinstance(values, dict) else values
    if isinstance(items, list):
        tensors = [item for item in items if isinstance(item, Tensor)]
        keys = list(values) if isinstance(values, dict) else [0]
        numbered = len(items) == 1 and re.fullmatch(r"\D*\d+", str(keys[0])) and keys[0] not in (0, "arr_0")
        if len(tensors) == 1 and not numbered and not any(isinstance(item, dict | list) for item in items):
            return tensors[0]
    return values


def describe(values: Any) -> str:
    """Type and size of a value, for error messages."""
    match values:
        case Tensor():
            return f"{values.dtype} {tuple(values.shape)}"
        case dict():
            keys = ", ".join(map(str, list(values)[:8]))
            return f"a dict of {keys}" if keys else "an empty dict"
        case list():
            return f"a list of {len(values)}"
    return f"a {type(values).__name__}"


def read_contents(path: Path) -> Any:
    """What a file holds: a tensor, or a list or dict of them and of settings. NumPy's files are read here, others as
    weight files are.

    Raises:
        MissingWeights: there is no such file. WeightsError: it is damaged, refused, or unknown.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(NUMPY_MAGIC)) == NUMPY_MAGIC:
                return _array(path, file)
        archive = _numpy_archive(path)
    except FileNotFoundError as error:
        raise MissingWeights(f"{path}: there is no such file; check the path") from error
    except OSError:
        archive = None  # `read_values` says what is wrong with it
    except ARCHIVE_DAMAGE as error:
        raise WeightsError(f"{path}: is a damaged .npz file ({error}); get it again") from error
    return read_values(path) if archive is None else archive


def _array(path: Path, file: BinaryIO) -> Tensor:
    """The array of a .npy file, once its header says that it holds plain numbers, as many as the file has."""
    file.seek(0)
    return _read_array(str(path), file, path.stat().st_size)


def _read_array(where: str, file: BinaryIO, size: int) -> Tensor:
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        read_header = headers.get(np.lib.format.read_magic(file))
        if read_header is None:
            raise WeightsError(f"{where}: is a .npy file of an unknown version; save the array again")
        shape, fortran, dtype = read_header(file)
    except NUMPY_DAMAGE as error:
        raise WeightsError(f"{where}: is a damaged .npy file ({error}); get it again") from error
    if dtype.hasobject:
        raise WeightsError(
            f"{where}: refused: it holds pickled Python objects. Nothing in it was run. Save plain arrays, a file each"
        )
    count = int(np.prod([int(side) for side in shape], dtype=object))
    if dtype.kind not in "fiub" or count * dtype.itemsize > min(size, MAX_BYTES):
        raise WeightsError(f"{where}: claims {shape} numbers of type {dtype}, which it doesn't have or which are none")
    content = file.read(count * dtype.itemsize)
    if len(content) != count * dtype.itemsize:
        raise WeightsError(f"{where}: is a damaged .npy file (it ends too early); get it again")
    array = np.frombuffer(content, dtype).astype(dtype.newbyteorder("="))
    return torch.from_numpy(array.reshape(shape, order="F" if fortran else "C").copy())


def _numpy_archive(path: Path) -> dict[str, Tensor] | None:
    """The arrays of a .npz file by name; None if it is none."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if not entries or not all(entry.filename.endswith(".npy") for entry in entries):
            return None
        if sum(entry.file_size for entry in entries) > MAX_BYTES:
            raise WeightsError(f"{path}: claims to unfold to more than {MAX_BYTES >> 20} MiB; no directions are that")
        arrays = {}
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            with archive.open(entry) as file:
                arrays[name] = _read_array(f"{path}, {name}", cast(BinaryIO, file), entry.file_size)
        return arrays
