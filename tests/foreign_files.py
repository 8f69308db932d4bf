"""Generators in the names of other projects, written down from their layouts and not from our tables."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from oodinv.weights.reading.read import WeightsFile

SIZE, WIDTH = 32, 16
CHANNELS = {4: 12, 8: 10, 16: 8, 32: 6}
KERNEL = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1]))


def file_of(tensors: Mapping[str, Tensor], **settings: object) -> WeightsFile:
    return WeightsFile(Path("some.pt"), "torch", dict(tensors), settings)


def rosinality(channels: Mapping[int, int] = CHANNELS) -> dict[str, Tensor]:
    """A generator in rosinality's names, written down from the layout and not from our table."""
    draw = torch.Generator().manual_seed(1)
    state: dict[str, Tensor] = {}

    def add(name: str, *shape: int) -> None:
        state[name] = torch.randn(shape, generator=draw)

    def add_conv(name: str, inputs: int, outputs: int) -> None:
        add(f"{name}.conv.weight", 1, outputs, inputs, 3, 3)
        add(f"{name}.conv.modulation.weight", inputs, WIDTH)
        add(f"{name}.conv.modulation.bias", inputs)
        add(f"{name}.noise.weight", 1)
        add(f"{name}.activate.bias", outputs)

    def add_rgb(name: str, inputs: int) -> None:
        add(f"{name}.conv.weight", 1, 3, inputs, 1, 1)
        add(f"{name}.conv.modulation.weight", inputs, WIDTH)
        add(f"{name}.conv.modulation.bias", inputs)
        add(f"{name}.bias", 1, 3, 1, 1)

    for n in (1, 2):
        add(f"style.{n}.weight", WIDTH, WIDTH)
        add(f"style.{n}.bias", WIDTH)
    sizes = sorted(channels)
    add("input.input", 1, channels[4], 4, 4)
    add_conv("conv1", channels[4], channels[4])
    add_rgb("to_rgb1", channels[4])
    add("noises.noise_0", 1, 1, 4, 4)
    for n, (before, size) in enumerate(pairwise(sizes)):
        add_conv(f"convs.{2 * n}", channels[before], channels[size])
        add_conv(f"convs.{2 * n + 1}", channels[size], channels[size])
        add_rgb(f"to_rgbs.{n}", channels[size])
        state[f"convs.{2 * n}.conv.blur.kernel"] = KERNEL / 16
        state[f"to_rgbs.{n}.upsample.kernel"] = KERNEL / 16
        add(f"noises.noise_{2 * n + 1}", 1, 1, size, size)
        add(f"noises.noise_{2 * n + 2}", 1, 1, size, size)
    return state


def nvidia(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same generator in NVIDIA's names."""
    sizes = sorted(CHANNELS)
    layers = {"conv1": "b4.conv1", "to_rgb1": "b4.torgb"}
    noises = {"noises.noise_0": "b4.conv1"}
    for n, size in enumerate(sizes[1:]):
        layers |= {f"convs.{2 * n}": f"b{size}.conv0", f"convs.{2 * n + 1}": f"b{size}.conv1"}
        layers |= {f"to_rgbs.{n}": f"b{size}.torgb"}
        noises |= {f"noises.noise_{2 * n + 1}": f"b{size}.conv0", f"noises.noise_{2 * n + 2}": f"b{size}.conv1"}
    tails = {
        "conv.weight": "weight",
        "conv.modulation.weight": "affine.weight",
        "conv.modulation.bias": "affine.bias",
        "noise.weight": "noise_strength",
        "activate.bias": "bias",
        "bias": "bias",
    }
    found: dict[str, Tensor] = {"synthesis.b4.const": state["input.input"][0]}
    for key, value in state.items():
        if key in noises:
            found[f"synthesis.{noises[key]}.noise_const"] = value[0, 0]
        for source, target in layers.items():
            tail = key.removeprefix(f"{source}.")
            if tail != key and tail in tails:
                found[f"synthesis.{target}.{tails[tail]}"] = value[0] if value.ndim == 5 else value.squeeze()
    for n in (0, 1):
        found |= {f"mapping.fc{n}.{k}": state[f"style.{n + 1}.{k}"] for k in ("weight", "bias")}
    found["mapping.w_avg"] = torch.arange(WIDTH) / WIDTH
    return {f"G_ema.{k}": v for k, v in found.items()}


ONE = torch.ones(1)
