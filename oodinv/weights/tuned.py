"""Files of weights that are tuned to one face: safetensors, float16, with a fingerprint of what they depend on."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from oodinv.imaging.files import atomic_write

FORMAT = "oodinv-tuned"


def write_tuned(path: Path, weights: Mapping[str, Tensor], fingerprint: str) -> None:
    """Writes tuned weights by name.

    Raises:
        OutputError: the file can't be written.
    """
    described = {"format": FORMAT, "fingerprint": fingerprint}
    content = safetensors.torch.save(dict(weights), described)
    atomic_write(path, lambda file: file.write(content))


def read_tuned(path: Path, fingerprint: str) -> dict[str, Tensor] | None:
    """Reads tuned weights by name; None if there is no such file, or it is damaged or has another fingerprint."""
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}) != {"format": FORMAT, "fingerprint": fingerprint}:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
