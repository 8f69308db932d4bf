"""The project's own weight files: safetensors whose metadata says what module they hold.

Metadata: `format` = "oodinv", `kind`, and `config` as JSON, the arguments of the module's constructor.
Values are stored in float16, to keep files small, or in float32, and read back as float32.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from oodinv.errors import WeightsError
from oodinv.imaging.files import atomic_write
from oodinv.models.encoders.e4e import E4e
from oodinv.models.encoders.feature_style import FeatureStyle
from oodinv.models.encoders.pyramid import PyramidEncoder
from oodinv.models.encoders.restyle import Restyle
from oodinv.models.generators.stylegan2 import Generator
from oodinv.models.samm import Samm

FORMAT = "oodinv"

Kind = Literal["stylegan2", "pyramid", "e4e", "restyle", "feature_style", "samm"]


def _sizes(table: Mapping[str, int]) -> dict[int, int]:
    return {int(size): channels for size, channels in table.items()}


def generator_config(generator: Generator) -> dict[str, Any]:
    """Constructor arguments of a generator."""
    return {
        "size": generator.size,
        "channels": generator.channels,
        "w_dim": generator.w_dim,
        "z_dim": generator.z_dim,
        "mapping_layers": len(generator.mapping.layers),
        "conv_clamp": generator.conv_clamp,
    }


def pyramid_config(encoder: PyramidEncoder) -> dict[str, Any]:
    """Constructor arguments of a pyramid encoder."""
    return {
        "size": encoder.size,
        "channels": encoder.tap_channels,
        "num_ws": encoder.num_ws,
        "w_dim": encoder.w_dim,
        "hidden": encoder.hidden.out_features,
    }


def samm_config(samm: Samm) -> dict[str, Any]:
    """Constructor arguments of SAMM."""
    return {
        "channels": samm.channels,
        "tap_channels": samm.tap_channels,
        "cycles": samm.cycles,
        "flow_range": samm.flow_range,
    }


def describe(module: nn.Module) -> tuple[Kind, dict[str, Any]]:
    """Kind and constructor arguments of a module that has a format of its own.

    Raises:
        TypeError: it has none.
    """
    match module:
        case Generator():
            return "stylegan2", generator_config(module)
        case PyramidEncoder():
            return "pyramid", pyramid_config(module)
        case E4e():
            return "e4e", {"num_ws": module.num_ws, "w_dim": module.w_dim}
        case Restyle():
            return "restyle", {"num_ws": module.num_ws, "w_dim": module.w_dim, "passes": module.passes}
        case FeatureStyle():
            return "feature_style", {"num_ws": module.num_ws, "w_dim": module.w_dim}
        case Samm():
            return "samm", samm_config(module)
    raise TypeError(f"{type(module).__name__} has no weight format of its own")


def arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """A description's constructor arguments; JSON has turned the sizes in its tables to text."""
    return {k: _sizes(v) if k in {"channels", "tap_channels"} else v for k, v in config.items()}


def construct(kind: str, config: Mapping[str, Any], source: Path) -> nn.Module:
    """An empty module from what `describe` said.

    Raises:
        WeightsError: unknown kind, or arguments that the constructor refuses.
    """
    try:
        match kind:
            case "stylegan2":
                return Generator(**arguments(config))
            case "pyramid":
                return PyramidEncoder(**arguments(config))
            case "e4e":
                return E4e(**config)
            case "restyle":
                return Restyle(**config)
            case "feature_style":
                return FeatureStyle(**config)
            case "samm":
                return Samm(**arguments(config))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"{source} describes a {kind} that can't be built ({error}); it is damaged") from error
    raise WeightsError(f"{source} holds a {kind!r}, which this version of oodinv doesn't know; update oodinv")


def save(path: Path, module: nn.Module, dtype: torch.dtype = torch.float16) -> None:
    """Writes a module with its description; floating-point values as `dtype`.

    Raises:
        WeightsError: a value is too large for the dtype. OutputError: the file can't be written.
    """
    kind, config = describe(module)
    state: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        stored = value.to("cpu", dtype) if value.is_floating_point() else value.cpu()
        if value.isfinite().all() and not stored.isfinite().all():
            raise WeightsError(f"{path}: {name} has values beyond {dtype}, which this file would store; not written")
        state[name] = stored.contiguous()
    metadata = {"format": FORMAT, "kind": kind, "config": json.dumps(config)}
    data = safetensors.torch.save(state, metadata)
    atomic_write(path, lambda file: file.write(data))


def as_float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point values as float32, the others as they are."""
    return {k: v.to(torch.float32) if v.is_floating_point() else v for k, v in state.items()}
