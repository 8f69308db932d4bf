"""The StyleGAN2 generator: parameters in modules, and its loop over sizes as a function.

Source: "Analyzing and Improving the Image Quality of StyleGAN" (Karras et al., CVPR 2020), skip architecture.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.ops import leaky, modulated_conv2d, normalize_second_moment, upsample2

Noise = Literal["fixed", "zero"] | torch.Generator | tuple[torch.Generator, ...]
"""Noise input: the buffers that come with the weights, none, or drawn anew, from one generator for the batch or from
one for each of its samples, which then get the same noise whatever their neighbours."""

MAPPING_LR_MULTIPLIER = 0.01


def sizes_up_to(size: int) -> list[int]:
    """4, 8, …, size.

    Raises:
        ValueError: `size` is not a power of two of at least 8.
    """
    if size < 8 or size & (size - 1):
        raise ValueError(f"a StyleGAN2 generator has a power-of-two size of at least 8, not {size}")
    return [2**n for n in range(2, size.bit_length())]


def channel_plan(size: int, base: int = 32768, maximum: int = 512) -> dict[int, int]:
    """Channels of each block, min(base / s, maximum); the defaults are those of config F."""
    return {s: min(base // s, maximum) for s in sizes_up_to(size)}


def draw_noise(source: torch.Generator | tuple[torch.Generator, ...], batch: int, size: int) -> Tensor:
    """Normal noise (batch, 1, size, size), on the generators' device.

    Raises:
        ValueError: there are generators for another number of samples.
    """
    if isinstance(source, torch.Generator):
        return torch.randn((batch, 1, size, size), generator=source, device=source.device)
    if len(source) != batch:
        raise ValueError(f"{len(source)} noise generators for a batch of {batch}")
    return torch.cat([torch.randn((1, 1, size, size), generator=g, device=g.device) for g in source])


class EqualLinear(nn.Module):
    """Linear layer with equalised learning rate: W·lr/√in and bias·lr are applied at run time."""

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, lr: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr)
        self.bias = nn.Parameter(torch.full((outputs,), bias / lr))
        self.gain = lr / math.sqrt(inputs)
        self.lr = lr

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) → (B, outputs)."""
        return F.linear(x, self.weight * self.gain, self.bias * self.lr)


class MappingNetwork(nn.Module):
    """z → w: normalisation and a stack of equalised linear layers with leaky ReLU."""

    def __init__(self, z_dim: int, w_dim: int, layers: int) -> None:
        super().__init__()
        widths = [z_dim] + [w_dim] * layers
        self.layers = nn.ModuleList(EqualLinear(i, o, lr=MAPPING_LR_MULTIPLIER) for i, o in pairwise(widths))

    def forward(self, z: Tensor) -> Tensor:
        """(B, z_dim) → (B, w_dim)."""
        w = normalize_second_moment(z)
        for layer in self.layers:
            w = leaky(layer(w))
        return w


class StyledConv(nn.Module):
    """A 3 × 3 modulated convolution with noise, bias and activation, in two halves.

    `convolve` ends before the noise: this is where SAMM aligns features (METHOD §3). `finish` does the rest.
    """

    noise: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, w_dim: int, clamp: float | None, up: bool) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("noise", torch.randn(size, size))
        self.clamp = clamp
        self.up = up

    def convolve(self, x: Tensor, w: Tensor) -> Tensor:
        """x (B, I, H, W), w (B, w_dim) → (B, O, size, size)."""
        return modulated_conv2d(x, self.weight, self.affine(w), up=self.up)

    def finish(self, x: Tensor, noise: Noise) -> Tensor:
        """Adds noise and bias and activates. (B, O, size, size) → same."""
        if noise == "fixed":
            x = x + (self.noise * self.noise_strength).to(x.dtype)
        elif noise != "zero":
            drawn = draw_noise(noise, x.shape[0], x.shape[-1]).to(x.device)
            x = x + (drawn * self.noise_strength).to(x.dtype)
        return leaky(x, self.bias, self.clamp)

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        """x (B, I, H, W), w (B, w_dim) → (B, O, size, size)."""
        return self.finish(self.convolve(x, w), noise)


class ToRGB(nn.Module):
    """A 1 × 1 modulated convolution without demodulation to colour."""

    def __init__(self, inputs: int, w_dim: int, clamp: float | None) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x (B, C, H, W), w (B, w_dim) → (B, 3, H, W) in float32."""
        rgb = modulated_conv2d(x, self.weight, self.affine(w), demodulate=False).float()
        rgb = rgb + self.bias.float()[:, None, None]
        return rgb if self.clamp is None else rgb.clamp(-self.clamp, self.clamp)


class Block(nn.Module):
    """Everything the generator does at one size: upsampling convolution, convolution, contribution to RGB."""

    def __init__(self, inputs: int, outputs: int, size: int, w_dim: int, clamp: float | None, *, first: bool) -> None:
        super().__init__()
        self.up = None if first else StyledConv(inputs, outputs, size, w_dim, clamp, up=True)
        self.conv = StyledConv(outputs, outputs, size, w_dim, clamp, up=False)
        self.to_rgb = ToRGB(outputs, w_dim, clamp)


@dataclass(frozen=True)
class BlockLatents:
    """The rows of w_plus that a block uses, each (B, w_dim)."""

    up: Tensor | None
    conv: Tensor
    to_rgb: Tensor


class Generator(nn.Module):
    """StyleGAN2 generator of any power-of-two size with any channel plan.

    Parameters only: `map_latents` and `synthesis.synthesize` run it.
    """

    w_avg: Tensor

    def __init__(
        self,
        size: int,
        channels: Mapping[int, int] | None = None,
        *,
        w_dim: int = 512,
        z_dim: int = 512,
        mapping_layers: int = 8,
        conv_clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.size, self.w_dim, self.z_dim, self.conv_clamp = size, w_dim, z_dim, conv_clamp
        self.sizes = sizes_up_to(size)
        self.channels = dict(channels) if channels is not None else channel_plan(size)
        if sorted(self.channels) != self.sizes:
            raise ValueError(f"the channel plan has sizes {sorted(self.channels)}, the generator {self.sizes}")
        self.num_ws = 2 * len(self.sizes)
        self.mapping = MappingNetwork(z_dim, w_dim, mapping_layers)
        self.register_buffer("w_avg", torch.zeros(w_dim))
        self.const = nn.Parameter(torch.randn(self.channels[4], 4, 4))
        previous = [self.channels[4], *(self.channels[s] for s in self.sizes[:-1])]
        self.blocks = nn.ModuleDict(
            {
                str(s): Block(i, self.channels[s], s, w_dim, conv_clamp, first=s == 4)
                for i, s in zip(previous, self.sizes, strict=True)
            }
        )

    def block(self, size: int) -> Block:
        """The block that ends at `size`."""
        block = self.blocks[str(size)]
        assert isinstance(block, Block)
        return block

    def start(self, batch: int, dtype: torch.dtype) -> Tensor:
        """The learned constant, (B, C, 4, 4), channels last as the convolutions like it."""
        x = self.const.to(dtype).expand(batch, -1, -1, -1)
        return x.contiguous(memory_format=torch.channels_last)


def block_latents(w_plus: Tensor, index: int) -> BlockLatents:
    """Rows of w_plus (B, num_ws, w_dim) for the block number `index`, counted from size 4.

    A block's colour layer shares its row with the next block's first convolution.
    """
    if index == 0:
        return BlockLatents(up=None, conv=w_plus[:, 0], to_rgb=w_plus[:, 1])
    first = 2 * index - 1
    return BlockLatents(up=w_plus[:, first], conv=w_plus[:, first + 1], to_rgb=w_plus[:, first + 2])


def map_latents(generator: Generator, z: Tensor, truncation_psi: float = 1.0) -> Tensor:
    """z (B, z_dim) → w (B, w_dim), pulled towards the average by w_avg + ψ·(w − w_avg)."""
    w: Tensor = generator.mapping(z)
    return w if truncation_psi == 1.0 else generator.w_avg.lerp(w, truncation_psi)


def add_rgb(rgb: Tensor | None, contribution: Tensor) -> Tensor:
    """The skip connection: the image so far, doubled in size, plus this block's contribution."""
    return contribution if rgb is None else upsample2(rgb) + contribution


def finish_block(
    block: Block, x: Tensor, rgb: Tensor | None, latents: BlockLatents, noise: Noise
) -> tuple[Tensor, Tensor]:
    """Second half of a block: x (B, C, s, s) after the first convolution → (x, rgb (B, 3, s, s))."""
    x = block.conv(x, latents.conv, noise)
    return x, add_rgb(rgb, block.to_rgb(x, latents.to_rgb))
