"""Reads and writes the project's own weight files: safetensors with a description of the module in their metadata.

Metadata: `format` = "oodinv", `kind`, and `config` as JSON, the arguments of the module's constructor.
Values are stored in float16, to keep files small, or in float32, and read back as float32.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor

from oodinv.errors import WeightsError
from oodinv.imaging.files import atomic_write
from oodinv.models import encoders, generators
from oodinv.models.encoders.base import Encoder
from oodinv.models.generators.base import Generator
from oodinv.models.perceptors.face_parser import FaceParser
from oodinv.models.samm import Samm

FORMAT = "oodinv"

Network = Generator | Encoder | Samm
"""Networks that are saved in this format."""


def family_of(kind: object) -> type[Network] | None:
    """Returns the class of networks of a kind; None for unknown kinds."""
    families: tuple[type[Network], ...] = (*generators.GENERATORS, *encoders.ENCODERS, Samm)
    return next((family for family in families if family.kind == kind), None)


def part_of(kind: object) -> Literal["generator", "encoder", "samm"] | None:
    """Returns the part of a model that a kind of network belongs to; None for unknown kinds."""
    family = family_of(kind)
    if family is None:
        return None
    if issubclass(family, Samm):
        return "samm"
    return "generator" if issubclass(family, Generator) else "encoder"


def _by_size(table: Mapping[str, Any]) -> dict[int, Any]:
    return {int(size): value for size, value in table.items()}


def construct(kind: object, config: Mapping[str, Any], source: Path, **settings: Any) -> Network:
    """Constructs the network that a file describes, without values.

    config: result of `Network.config`, read from JSON, where the keys of tables are strings. settings: further
    constructor arguments; they take precedence over `config`.

    Raises:
        WeightsError: the kind is unknown, or the arguments are invalid.
    """
    family = family_of(kind)
    if family is None:
        raise WeightsError(f"{source} holds a {kind!r}, which this version of oodinv doesn't know; update oodinv")
    try:
        given = {key: _by_size(value) if isinstance(value, dict) else value for key, value in config.items()}
        return family(**{**given, **settings})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"{source} describes a {kind} that can't be built ({error}); it is damaged") from error


def save(path: Path, module: Network | FaceParser, dtype: torch.dtype = torch.float16) -> None:
    """Writes a module and its description; floating-point values are stored as `dtype`.

    Raises:
        WeightsError: a value is too large for the dtype. OutputError: the file can't be written.
    """
    state: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        stored = value.to("cpu", dtype) if value.is_floating_point() else value.cpu()
        if value.isfinite().all() and not stored.isfinite().all():
            raise WeightsError(f"{path}: {name} has values beyond {dtype}, which this file would store; not written")
        state[name] = stored.contiguous()
    metadata = {"format": FORMAT, "kind": module.kind, "config": json.dumps(module.config())}
    data = safetensors.torch.save(state, metadata)
    atomic_write(path, lambda file: file.write(data))


def as_float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Converts floating-point values to float32."""
    return {k: v.to(torch.float32) if v.is_floating_point() else v for k, v in state.items()}
