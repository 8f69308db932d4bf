"""Reads files of an average latent."""

from pathlib import Path

from torch import Tensor

from oodinv.errors import UnknownLayout
from oodinv.weights.reading.arrays import is_npy, read_npy
from oodinv.weights.reading.read import flattened, read_values


def read_average(path: Path) -> Tensor:
    """Reads an average latent (512,), (1, 512) or (num_ws, 512) from a .npy, .pt or .safetensors file, as float32.

    Raises:
        MissingWeights: there is no such file.
        WeightsError: it is damaged, or contains something else or several tensors.
    """
    value = read_npy(path) if is_npy(path) else _from_weights(path)
    if value.ndim not in (1, 2) or not value.is_floating_point():
        raise UnknownLayout(
            f"{path}: holds a {value.dtype} tensor of shape {tuple(value.shape)}; an average latent has "
            "shape (512,), (1, 512) or (num_ws, 512)"
        )
    return value.float()


def _from_weights(path: Path) -> Tensor:
    """Reads the only tensor of a weight file, bare or in a dict."""
    value = read_values(path)
    tensors = [value] if isinstance(value, Tensor) else list(flattened(path, value).tensors.values())
    if len(tensors) != 1:
        raise UnknownLayout(f"{path}: holds {len(tensors)} tensors; an average latent is one")
    return tensors[0]
