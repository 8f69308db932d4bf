"""Reads arrays of other projects from .npy, .npz, .pt, .pkl and .safetensors files; no pickled code is executed."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from oodinv.weights.reading.arrays import is_npy, read_npy, read_npz
from oodinv.weights.reading.read import read_values


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
    """Reads a tensor, or a list or dict of tensors and settings.

    Raises:
        MissingWeights: there is no such file. WeightsError: it is damaged, refused, or unknown.
    """
    if is_npy(path):
        return read_npy(path)
    try:
        archive = read_npz(path)
    except OSError:
        archive = None  # `read_values` reports the reason
    return read_values(path) if archive is None else archive
