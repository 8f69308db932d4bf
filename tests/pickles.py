"""Writes values as pickles and as PyTorch's two containers, in any protocol."""

import pickle
from pathlib import Path

import torch

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def write_pickle(value: object, path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps(value, protocol))


def write_zip(value: object, path: Path, protocol: int) -> None:
    torch.save(value, path, pickle_protocol=protocol)


def write_legacy(value: object, path: Path, protocol: int) -> None:
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
