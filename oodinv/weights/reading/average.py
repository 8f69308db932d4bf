"""The average latent as a file of its own."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from oodinv.errors import UnknownLayout, WeightsError
from oodinv.weights.reading.damage import NUMPY_DAMAGE
from oodinv.weights.reading.read import flattened, read_values

NUMPY_MAGIC = b"\x93NUMPY"


def read_average(path: Path) -> Tensor:
    """Average latent (512,), (1, 512) or (num_ws, 512) from a .npy, .pt or .safetensors file, as float32.

    Raises:
        MissingWeights: there is no such file.
        WeightsError: it is damaged, or holds something else or more than one tensor.
    """
    try:
        with path.open("rb") as file:
            numpy = file.read(len(NUMPY_MAGIC)) == NUMPY_MAGIC
    except OSError:
        numpy = False  # `read_values` says what is wrong with it
    value = _from_numpy(path) if numpy else _from_weights(path)
    if value.ndim not in (1, 2) or not value.is_floating_point():
        raise UnknownLayout(
            f"{path}: holds a {value.dtype} tensor of shape {tuple(value.shape)}; an average latent has "
            "shape (512,), (1, 512) or (num_ws, 512)"
        )
    return value.float()


def _from_numpy(path: Path) -> Tensor:
    try:  # mapped first, which refuses a shape that the file has too few bytes for before anything is allocated
        return torch.from_numpy(np.array(np.load(path, allow_pickle=False, mmap_mode="r")))
    except NUMPY_DAMAGE as error:
        raise WeightsError(f"{path}: is a damaged .npy file ({error}); make it again") from error


def _from_weights(path: Path) -> Tensor:
    """The one tensor of a weight file, in a dict or outside of any."""
    value = read_values(path)
    tensors = [value] if isinstance(value, Tensor) else list(flattened(path, value).tensors.values())
    if len(tensors) != 1:
        raise UnknownLayout(f"{path}: holds {len(tensors)} tensors; an average latent is one")
    return tensors[0]
