"""Reads the parameters of dlib's face recognition ResNet from its serialised form (.dat).

dlib writes layers from the input to the output: a name, and a tensor as four sizes and raw little-endian floats.
Everything between them (settings, empty gradients) is skipped.
"""

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from oodinv.errors import UnknownLayout, WeightsError

MAGIC = b"\x01\x01\x01\x0dloss_metric_2"
"""First bytes of the file: a version, and the name of the loss layer."""
_LAYER = re.compile(rb"\x01[\x05\x07\x04](con_4|affine_|fc_2)")
_TENSOR_VERSION = 2


def read_dlib(path: Path) -> list[tuple[str, Tensor]]:
    """Returns the layers with parameters, in order: ("con", "affine" or "fc", float32 (N,)).

    Raises:
        UnknownLayout: the file is not a network of dlib with a metric loss. WeightsError: it is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    if not content.startswith(MAGIC):
        raise UnknownLayout(f"{path}: is not dlib's face recognition network, `oodinv weights list dlib`")
    layers: list[tuple[str, Tensor]] = []
    position = len(MAGIC)
    try:
        while match := _LAYER.search(content, position):
            name = match[1].split(b"_")[0].decode()
            start = match.end() if name != "fc" else content.index(b"\x01\x02\x02", match.end())
            count, start = _tensor_size(content, start)
            end = start + 4 * count
            if end > len(content):
                raise ValueError(f"layer {len(layers)} ends beyond the file")
            layers.append((name, torch.from_numpy(np.frombuffer(content[start:end], "<f4").astype(np.float32))))
            position = end
    except (ValueError, IndexError) as error:
        raise WeightsError(f"{path}: is damaged ({error}); fetch it again") from error
    return layers


def _tensor_size(content: bytes, position: int) -> tuple[int, int]:
    """Returns the number of values of a tensor and their offset."""
    version, position = _integer(content, position)
    if version != _TENSOR_VERSION:
        raise ValueError(f"a tensor has version {version}")
    count = 1
    for _ in range(4):
        size, position = _integer(content, position)
        count *= size
    return count, position


def _integer(content: bytes, position: int) -> tuple[int, int]:
    """Reads an integer: the number of its bytes (high bit: negative), then the bytes, lowest first."""
    length = content[position]
    if length & 0x80 or not 1 <= length <= 8:
        raise ValueError("an integer has no length")
    end = position + 1 + length
    return int.from_bytes(content[position + 1 : end], "little"), end
