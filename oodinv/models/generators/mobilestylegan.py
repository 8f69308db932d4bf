"""The MobileStyleGAN family: a StyleGAN2 distilled into separable convolutions and inverse wavelet transforms.

Source: "MobileStyleGAN: A Lightweight Convolutional Neural Network for High-Fidelity Image Synthesis" (Belousov 2021,
arXiv 2104.04767). Its W is that of the StyleGAN2 it was distilled from, and so are its rows of w_plus, up to the last.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models import bands
from oodinv.models.bands import Bands
from oodinv.models.generators.base import Features, Generator, Noise, Tap, draw_noise
from oodinv.models.generators.mobilestylegan_ir import arrange
from oodinv.models.layers import sizes_up_to
from oodinv.models.naming import Layout, Rule, Settings, State, numbers, shape
from oodinv.models.ops import ACTIVATION_GAIN, LEAKY_SLOPE, normalize_second_moment
from oodinv.models.winograd import eager_on_cpu, exported, number_format

FIRST = 4
"""Side of the learned constant."""

CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64}
"""Channels that each size ends with in the published generator of 1024 px."""

COLOURS = 3
WAVELETS = 4
"""Bands of the Haar transform: low-pass, horizontal, vertical and diagonal detail."""

NoiseMaps = tuple[Tensor | None, Tensor | None]
"""Maps added after each convolution of a block, (size, size), for one sample."""


def idwt(x: Tensor) -> Tensor:
    """Inverse Haar transform. (B, 4C, H, W) → (B, C, 2H, 2W).

    The first C channels are LL; LH, HL and HH follow, interleaved per channel.

        y[2i, 2j]   = (LL + LH + HL + HH) / 2    y[2i,   2j+1] = (LL + LH − HL − HH) / 2
        y[2i+1, 2j] = (LL − LH + HL − HH) / 2    y[2i+1, 2j+1] = (LL − LH − HL + HH) / 2
    """
    batch, bands, height, width = x.shape
    channels = bands // WAVELETS
    x = x * 0.5
    low = x[:, :channels]
    lh, hl, hh = x[:, channels:].unflatten(1, (channels, 3)).unbind(2)
    top, bottom, left, right = low + lh, low - lh, hl + hh, hl - hh
    phases = torch.stack([top + left, top - left, bottom + right, bottom - right], dim=2)
    return F.pixel_shuffle(phases.reshape(batch, bands, height, width), 2)


class Pointwise(nn.Module):
    """Noise, bias and activation, and the modulation of a convolution's inputs.

    `noise` is added as it is; random noise gets the root mean square of the stored map as its strength.
    """

    noise: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, w_dim: int) -> None:
        super().__init__()
        self.affine = nn.Linear(w_dim, inputs)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("noise", torch.zeros(size, size))
        self.gain = 1 / math.sqrt(9 * inputs)

    def style(self, w: Tensor) -> Tensor:
        """w (B, w_dim) → factors of the input channels (B, inputs)."""
        return self.affine(w) * self.gain  # type: ignore[no-any-return]

    def noise_maps(self, noise: Noise, batch: int) -> Tensor | None:
        """Maps added to all channels, (1, 1, size, size) or (batch, 1, size, size)."""
        if noise == "zero":
            return None
        if noise == "fixed":
            return self.noise[None, None]
        drawn = draw_noise(noise, batch, self.noise.shape[-1]).to(self.noise.device)
        return drawn * self.noise.square().mean().sqrt()

    def finish(self, x: Tensor, noise: Noise) -> Tensor:
        """Noise, bias and leaky ReLU without gain. (B, outputs, size, size) → same."""
        shift, maps = self.bias[:, None, None], self.noise_maps(noise, x.shape[0])
        if maps is not None:
            shift = shift + maps
        return F.leaky_relu(x + shift.to(x.dtype), LEAKY_SLOPE)

    def finish_bands(self, x: Bands, noise: Tensor | None, dtype: torch.dtype) -> Bands:
        """`finish` in bands, for one sample and its noise (size, size)."""
        return bands.activate(x, self.bias.to(dtype), None if noise is None else noise.to(dtype), LEAKY_SLOPE)


class DenseConv(Pointwise):
    """A modulated 3 × 3 convolution whose demodulation is part of its weights."""

    def __init__(self, inputs: int, outputs: int, size: int, w_dim: int) -> None:
        super().__init__(inputs, outputs, size, w_dim)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))

    def forward(self, x: Tensor, w: Tensor, noise: Noise) -> Tensor:
        """x (B, inputs, size, size), w (B, w_dim) → (B, outputs, size, size)."""
        x = x * self.style(w)[:, :, None, None].to(x.dtype)
        return self.finish(F.conv2d(x, self.weight.to(x.dtype), padding=1), noise)


class SeparableConv(Pointwise):
    """A depthwise 3 × 3 convolution and a modulated 1 × 1 convolution whose demodulation is part of its weights.

    The published network scales the input of the first; scaling each channel commutes with it.
    """

    def __init__(self, inputs: int, outputs: int, size: int, w_dim: int) -> None:
        super().__init__(inputs, outputs, size, w_dim)
        self.depthwise = nn.Parameter(torch.randn(inputs, 1, 3, 3))
        self.weight = nn.Parameter(torch.randn(outputs, inputs))

    def convolve(self, x: Tensor, w: Tensor) -> Tensor:
        """Up to where noise is added. x (B, inputs, size, size), w (B, w_dim) → (B, outputs, size, size)."""
        if exported():
            x = F.conv2d(x * self.style(w)[:, :, None, None], self.depthwise, padding=1, groups=x.shape[1])
            return F.conv2d(x, self.weight[:, :, None, None])
        x = F.conv2d(x, self.depthwise.to(x.dtype), padding=1, groups=x.shape[1])
        weights = (self.weight * self.style(w)[:, None, :]).to(x.dtype)
        return torch.bmm(weights, x.flatten(2)).reshape(x.shape[0], -1, *x.shape[2:])

    def convolve_bands(self, x: Bands, w: Tensor, dtype: torch.dtype) -> Bands:
        """`convolve` in bands, for one sample and its w (w_dim,)."""
        x = bands.depthwise3x3(x, self.depthwise.to(dtype), len(self.noise))
        return bands.pointwise(x, (self.weight * self.style(w)).to(dtype))


class Block(nn.Module):
    """Layers of the generator at one size: a modulated inverse wavelet transform and two separable convolutions."""

    def __init__(self, inputs: int, outputs: int, size: int, w_dim: int) -> None:
        super().__init__()
        self.up = nn.Linear(w_dim, inputs)
        self.conv1 = SeparableConv(inputs // WAVELETS, outputs, size, w_dim)
        self.conv2 = SeparableConv(outputs, outputs, size, w_dim)

    def enlarge(self, x: Tensor, w: Tensor) -> Tensor:
        """x (B, inputs, H, W), w (B, w_dim) → (B, inputs / 4, 2H, 2W)."""
        return idwt(x * self.up(w)[:, :, None, None].to(x.dtype))

    def noise_maps(self, noise: Noise, batch: int) -> Iterator[NoiseMaps]:
        """Noise maps of both convolutions for each sample."""
        both = (conv.noise_maps(noise, batch) for conv in (self.conv1, self.conv2))
        first, second = ([None] * batch if maps is None else maps[:, 0].expand(batch, -1, -1) for maps in both)
        return zip(first, second, strict=True)

    def advance_bands(self, x: Tensor, w: Tensor, dtype: torch.dtype) -> Bands:
        """First half, for one sample (inputs, H, W) and its w (w_dim,)."""
        widest = max(len(self.conv1.bias), len(self.up.bias) // 2)
        rows = bands.cut(x.to(dtype), 2 * widest)
        return self.conv1.convolve_bands(bands.idwt(rows, self.up(w).to(dtype)), w, dtype)

    def finish_bands(self, x: Bands, w: Tensor, noise: NoiseMaps, dtype: torch.dtype) -> Bands:
        """Second half, for one sample and its w (w_dim,)."""
        x = self.conv2.convolve_bands(self.conv1.finish_bands(x, noise[0], dtype), w, dtype)
        return self.conv2.finish_bands(x, noise[1], dtype)


class ToImage(nn.Module):
    """A modulated 1 × 1 convolution to the wavelet bands of the three colours."""

    def __init__(self, inputs: int, w_dim: int) -> None:
        super().__init__()
        self.affine = nn.Linear(w_dim, inputs)
        self.weight = nn.Parameter(torch.randn(WAVELETS * COLOURS, inputs))
        self.bias = nn.Parameter(torch.zeros(WAVELETS * COLOURS))
        self.gain = 1 / math.sqrt(inputs)

    def style(self, w: Tensor) -> Tensor:
        """w (B, w_dim) → factors of the input channels (B, inputs)."""
        return self.affine(w) * self.gain  # type: ignore[no-any-return]

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x (B, inputs, H, W), w (B, w_dim) → (B, 3, 2H, 2W) in float32."""
        weights = (self.weight * self.style(w)[:, None, :]).to(x.dtype)
        coefficients = torch.bmm(weights, x.flatten(2)).unflatten(2, x.shape[2:])
        return idwt(coefficients.float() + self.bias.float()[:, None, None])

    def image_bands(self, x: Bands, w: Tensor, dtype: torch.dtype) -> Bands:
        """`forward` in bands, for one sample and its w (w_dim,)."""
        coefficients = bands.pointwise(x, (self.weight * self.style(w)).to(dtype))
        return bands.idwt((band.float() + self.bias.float() for band in coefficients), 1.0)


class MobileStyleGAN(Generator):
    """MobileStyleGAN of any power-of-two size of at least 16.

    `channels`: of each size from 4 to half of the picture's. Its features are those of the last block alone.
    """

    kind = "mobilestylegan"
    mark = r"blocks\.8\.conv1\.depthwise"
    layouts = (
        Layout(
            "mobilestylegan-openvino",
            r"SynthesisNetwork\.constants\.m\.input\.input",
            (Rule(r"(.*)", r"generator.\1"),),
            arrange=arrange,
        ),
    )
    spare_rows = 2  # StyleGAN2's of the picture's full size

    def __init__(
        self,
        size: int = 1024,
        channels: Mapping[int, int] | None = None,
        *,
        w_dim: int = 512,
        z_dim: int = 512,
        mapping_layers: int = 8,
    ) -> None:
        super().__init__()
        self.size, self.w_dim, self.z_dim = size, w_dim, z_dim
        self.channels = dict(CHANNELS if channels is None else channels)
        sizes = sizes_up_to(size)[:-1]
        if sorted(self.channels) != sizes or len(sizes) < 2:
            raise ValueError(f"channels has sizes {sorted(self.channels)}, a generator of {size} px {sizes}")
        if any(self.channels[s] % WAVELETS for s in sizes[:-1]):
            raise ValueError(f"channels must be multiples of {WAVELETS} at all sizes but the last")
        self.taps = {s: Tap(self.channels[s], s) for s in sizes[1:]}
        self.num_ws = self.rows_at(size)
        widths = [z_dim] + [w_dim] * mapping_layers
        self.mapping = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.register_buffer("w_avg", torch.zeros(w_dim))
        first = self.channels[FIRST]
        self.const = nn.Parameter(torch.randn(first, FIRST, FIRST))
        self.conv1 = DenseConv(first, first, FIRST, w_dim)
        self.blocks = nn.ModuleDict(
            {str(s): Block(self.channels[before], self.channels[s], s, w_dim) for before, s in pairwise(sizes)}
        )
        self.to_image = ToImage(self.channels[sizes[-1]], w_dim)

    def block(self, key: int) -> Block:
        """The block that ends at size `key`."""
        block = self.blocks[str(key)]
        assert isinstance(block, Block)
        return block

    def rows(self, key: int) -> tuple[int, int]:
        """Rows of w_plus of a block: of its wavelet transform and first convolution, and of its second."""
        index = list(self.taps).index(key)
        return 2 * index + 1, 2 * index + 2

    @property
    def has_mapping(self) -> bool:
        """False for a generator that was made without a mapping network."""
        return len(self.mapping) > 0

    def map(self, z: Tensor) -> Tensor:
        """z (B, z_dim) → w (B, w_dim)."""
        w = normalize_second_moment(z)
        for layer in self.mapping:
            w = F.leaky_relu(layer(w), LEAKY_SLOPE) * ACTIVATION_GAIN
        return w

    def style_weights(self, row: int) -> Tensor:
        """Weights (styles, w_dim) of the affine layers of a row; of a block's first row, two on top of each other."""
        if row == 0:
            return self.conv1.affine.weight
        if row == self.num_ws - 1:
            return self.to_image.affine.weight
        block = self.block(list(self.taps)[(row - 1) // 2])
        if row % 2 == 0:
            return block.conv2.affine.weight
        return torch.cat([block.up.weight, block.conv1.affine.weight])

    def convolutions(self, key: int) -> list[nn.Parameter]:
        """Those of both separable convolutions."""
        block = self.block(key)
        return [p for conv in (block.conv1, block.conv2) for p in (conv.depthwise, conv.weight, conv.bias)]

    @classmethod
    def rows_at(cls, size: int) -> int:
        """Two for each size from 4 up to half of the picture's."""
        return 2 * len(sizes_up_to(size)) - 2

    def start(self, w_plus: Tensor, noise: Noise) -> Features:
        """The learned constant and the dense convolution. → ((B, C, 4, 4),)."""
        x = self.const.to(w_plus.dtype).expand(w_plus.shape[0], -1, -1, -1)
        return (self.conv1(x, w_plus[:, 0], noise),)

    def advance(self, features: Features, w_plus: Tensor, key: int) -> Tensor:
        """Enlarges by the wavelet transform and convolves up to the first noise. → (B, C, key, key)."""
        block, w, x = self.block(key), w_plus[:, self.rows(key)[0]], features[0]
        if eager_on_cpu(x):
            dtype = number_format(x)
            return bands.collect([block.advance_bands(x[i], w[i], dtype) for i in range(len(x))], key)
        return block.conv1.convolve(block.enlarge(x, w), w)

    def finish(self, x: Tensor, features: Features, w_plus: Tensor, key: int, noise: Noise) -> Features:  # noqa: ARG002
        """Noise, bias and activation, and the second convolution."""
        block, w = self.block(key), w_plus[:, self.rows(key)[1]]
        if eager_on_cpu(x):
            dtype, noises = number_format(x), block.noise_maps(noise, len(x))
            cut = (bands.cut(one.to(dtype), len(block.conv1.bias)) for one in x)
            return (bands.collect([block.finish_bands(*of, dtype) for of in zip(cut, w, noises, strict=True)], key),)
        x = block.conv1.finish(x, noise)
        return (block.conv2.finish(block.conv2.convolve(x, w), noise),)

    def run(self, features: Features, w_plus: Tensor, key: int, noise: Noise) -> Features:
        """Runs both halves in bands if that is faster."""
        if not eager_on_cpu(features[0]):
            return super().run(features, w_plus, key, noise)
        return (bands.collect(self._run_bands(features[0], w_plus, key, noise), key),)

    def conclude(self, features: Features, w_plus: Tensor, key: int, noise: Noise) -> Tensor:
        """Runs the last block and makes the picture, in bands if that is faster."""
        x = features[0]
        if not eager_on_cpu(x):
            return super().conclude(features, w_plus, key, noise)
        last = zip(self._run_bands(x, w_plus, key, noise), w_plus[:, self.num_ws - 1], strict=True)
        return bands.collect([self.to_image.image_bands(*of, number_format(x)) for of in last], self.size)

    def _run_bands(self, x: Tensor, w_plus: Tensor, key: int, noise: Noise) -> list[Bands]:
        """A whole block, in bands of each sample."""
        block, dtype, (first, second) = self.block(key), number_format(x), self.rows(key)
        return [
            block.finish_bands(block.advance_bands(one, w[first], dtype), w[second], maps, dtype)
            for one, w, maps in zip(x, w_plus, block.noise_maps(noise, len(x)), strict=True)
        ]

    def image(self, features: Features, w_plus: Tensor) -> Tensor:
        """The picture's wavelet bands, transformed. → (B, 3, size, size)."""
        return self.to_image(features[0], w_plus[:, self.num_ws - 1])  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        """Size, channels, widths and depth of the mapping network."""
        return {
            "size": self.size,
            "channels": self.channels,
            "w_dim": self.w_dim,
            "z_dim": self.z_dim,
            "mapping_layers": len(self.mapping),
        }

    @classmethod
    def arguments(cls, state: State, settings: Settings) -> dict[str, Any]:  # noqa: ARG003
        """Sizes and channels of the tensors."""
        sizes = numbers(state, r"blocks\.(\d+)\..*")
        channels = {s: shape(state, f"blocks.{s}.conv2.bias")[0] for s in sizes}
        return {
            "size": 2 * max(sizes, default=0),
            "channels": {FIRST: shape(state, "const")[0], **channels},
            "w_dim": shape(state, "conv1.affine.weight")[-1],
            "z_dim": shape(state, "mapping.0.weight")[-1],
            "mapping_layers": len(numbers(state, r"mapping\.(\d+)\.weight")),
        }
