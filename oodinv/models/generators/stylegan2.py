"""The StyleGAN2 family: modules with its parameters and the arithmetic of a block.

Source: "Analyzing and Improving the Image Quality of StyleGAN" (Karras et al., CVPR 2020), skip architecture.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from oodinv.models.generators.base import Features, Generator, Noise, Supplied, Tap, draw_noise
from oodinv.models.generators.stylegan2_layouts import LAYOUTS, ROSINALITY, conv_clamp
from oodinv.models.layers import EqualLinear, channel_plan, sizes_up_to
from oodinv.models.naming import Settings, State, numbers, shape
from oodinv.models.ops import leaky, modulated_conv2d, normalize_second_moment, upsample2

MAPPING_LR_MULTIPLIER = 0.01
NOISE_SEED = 0
"""Seed of the noise maps for files without any."""


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

    `convolve` ends before the noise: this is where SAMM aligns features. `finish` does the rest.
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
    """Rows of w_plus for one block, each (B, w_dim)."""

    up: Tensor | None
    conv: Tensor
    to_rgb: Tensor


def block_latents(w_plus: Tensor, index: int) -> BlockLatents:
    """Rows of w_plus (B, num_ws, w_dim) for the block number `index`, counted from size 4.

    A block's colour layer shares its row with the next block's first convolution.
    """
    if index == 0:
        return BlockLatents(up=None, conv=w_plus[:, 0], to_rgb=w_plus[:, 1])
    first = 2 * index - 1
    return BlockLatents(up=w_plus[:, first], conv=w_plus[:, first + 1], to_rgb=w_plus[:, first + 2])


def add_rgb(rgb: Tensor | None, contribution: Tensor) -> Tensor:
    """The skip connection: the image so far, doubled in size, plus this block's contribution."""
    return contribution if rgb is None else upsample2(rgb) + contribution


def finish_block(block: Block, x: Tensor, rgb: Tensor | None, latents: BlockLatents, noise: Noise) -> Features:
    """Second half of a block: x (B, C, s, s) after the first convolution → (x, rgb (B, 3, s, s))."""
    x = block.conv(x, latents.conv, noise)
    return x, add_rgb(rgb, block.to_rgb(x, latents.to_rgb))


class StyleGAN2(Generator):
    """StyleGAN2 generator of any power-of-two size with any channel plan.

    Its features are those of the last block and the picture so far: (x (B, C, s, s), rgb (B, 3, s, s)).
    """

    kind = "stylegan2"
    mark = r"blocks\.4\.conv\.affine\.weight"
    layouts = LAYOUTS
    names = ROSINALITY

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
        self.taps = {s: Tap(self.channels[s], s) for s in self.sizes[1:]}
        self.num_ws = self.rows_at(size)
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

    def _upsampling(self, size: int) -> StyledConv:
        """The first convolution of a block above size 4."""
        conv = self.block(size).up
        assert conv is not None
        return conv

    def latents(self, w_plus: Tensor, size: int) -> BlockLatents:
        """The rows of w_plus (B, num_ws, w_dim) that the block of `size` uses."""
        return block_latents(w_plus, self.sizes.index(size))

    @property
    def has_mapping(self) -> bool:
        """False for generators of autoencoders, which have a mapping network of no layers."""
        return len(self.mapping.layers) > 0

    def map(self, z: Tensor) -> Tensor:
        """z (B, z_dim) → w (B, w_dim)."""
        return self.mapping(z)  # type: ignore[no-any-return]

    def style_weights(self, row: int) -> Tensor:
        """Run-time weights (C, w_dim) of a convolution's affine layer; the last row's is the colour layer's."""
        if row == self.num_ws - 1:
            affine = self.block(self.size).to_rgb.affine
        else:
            size = self.sizes[(row + 1) // 2]
            affine = (self._upsampling(size) if row % 2 else self.block(size).conv).affine
        return affine.weight * affine.gain

    def convolutions(self, key: int) -> list[nn.Parameter]:
        """Those of both convolutions; that of colours is fixed."""
        convs = (self._upsampling(key), self.block(key).conv)
        return [weight for conv in convs for weight in (conv.weight, conv.bias)]

    @classmethod
    def rows_at(cls, size: int) -> int:
        """Two for each size from 4 up."""
        return 2 * len(sizes_up_to(size))

    def start(self, w_plus: Tensor, noise: Noise) -> Features:
        """The learned constant after the block of size 4; channels last, which is faster."""
        x = self.const.to(w_plus.dtype).expand(w_plus.shape[0], -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        return finish_block(self.block(4), x, None, self.latents(w_plus, 4), noise)

    def advance(self, features: Features, w_plus: Tensor, key: int) -> Tensor:
        """The upsampling convolution up to its noise. → (B, C, key, key)."""
        up = self.latents(w_plus, key).up
        assert up is not None
        return self._upsampling(key).convolve(features[0], up)

    def finish(self, x: Tensor, features: Features, w_plus: Tensor, key: int, noise: Noise) -> Features:
        """Noise, bias and activation, the second convolution, and the block's share of the picture."""
        x = self._upsampling(key).finish(x, noise)
        return finish_block(self.block(key), x, features[1], self.latents(w_plus, key), noise)

    def image(self, features: Features, w_plus: Tensor) -> Tensor:  # noqa: ARG002
        """The sum of all blocks' shares, (B, 3, size, size)."""
        return features[1]

    def config(self) -> dict[str, Any]:
        """Size, channels, widths, depth of the mapping network, and the bound on activations."""
        return {
            "size": self.size,
            "channels": self.channels,
            "w_dim": self.w_dim,
            "z_dim": self.z_dim,
            "mapping_layers": len(self.mapping.layers),
            "conv_clamp": self.conv_clamp,
        }

    @classmethod
    def arguments(cls, state: State, settings: Settings) -> dict[str, Any]:
        """Sizes and channels of the tensors; the bound on activations of NVIDIA's files."""
        sizes = numbers(state, r"blocks\.(\d+)\..*")
        return {
            "size": max(sizes, default=0),
            "channels": {s: shape(state, f"blocks.{s}.conv.bias")[0] for s in sizes},
            "w_dim": shape(state, "blocks.4.conv.affine.weight")[-1],
            "z_dim": shape(state, "mapping.layers.0.weight")[-1],
            "mapping_layers": len(numbers(state, r"mapping\.layers\.(\d+)\.weight")),
            "conv_clamp": conv_clamp(settings),
        }

    @classmethod
    def supplied(cls, state: State) -> Supplied | None:
        """Noise maps drawn from a fixed seed for files without any, such as rosinality's 256 px FFHQ file.

        They may differ from the authors'; the generator was trained with random noise for each picture.
        """
        if any(re.fullmatch(r"blocks\.\d+\.(up|conv)\.noise", key) for key in state):
            return None
        seed = torch.Generator().manual_seed(NOISE_SEED)
        sizes = numbers(state, r"blocks\.(\d+)\.conv\.noise_strength")
        buffers = {
            f"blocks.{size}.{layer}.noise": torch.randn(size, size, generator=seed)
            for size in sizes
            for layer in ("up", "conv")
            if f"blocks.{size}.{layer}.noise_strength" in state
        }
        return Supplied(buffers, "has no noise maps; they are drawn from a fixed seed") if buffers else None
