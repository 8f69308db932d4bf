"""Layers of inference on a CPU that pass a picture on in bands of rows, small enough to stay in the processor's cache.

One by one, layers of whole feature maps wait for memory most of the time: at 512 px a map of 64 channels has 64 MB.
A picture of one sample is an iterator of bands (rows, W, C) from top to bottom; each function here takes bands and
yields bands. Results differ from those of whole maps by rounding at most.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Bands = Iterator[Tensor]

BAND_VALUES = 2**18
"""Values of a band of the widest layer, 1 MB in float32."""


def cut(x: Tensor, channels: int) -> Bands:
    """Cuts a sample (C, H, W) into bands; `channels`, a row's at the same width, is that of the widest layer."""
    yield from x.permute(1, 2, 0).contiguous().split(max(1, BAND_VALUES // (x.shape[-1] * channels)))


def collect(samples: Sequence[Bands], height: int) -> Tensor:
    """Puts together a batch from its samples' bands, of `height` rows each. → (B, C, H, W), channels last in memory."""
    found = torch.empty(0)
    for index, bands in enumerate(samples):
        row = 0
        for band in bands:
            if not len(found):
                found = band.new_empty(len(samples), height, *band.shape[1:])
            found[index, row : row + len(band)] = band
            row += len(band)
    return found.permute(0, 3, 1, 2)


def depthwise3x3(bands: Bands, weight: Tensor, height: int) -> Bands:
    """3 × 3 convolution of each channel with its own filter, zeros around. weight (C, 1, 3, 3), height: rows in all."""
    above, seen = None, 0
    for band in bands:
        seen += len(band)
        border = torch.zeros_like(band[:1])
        below = [border] if seen == height else []
        window = torch.cat([border if above is None else above, band, *below])
        above = window[-2:]
        if len(window) > 2:
            yield _convolve(window, weight, padding=(0, 1), groups=len(weight))


def pointwise(bands: Bands, weight: Tensor) -> Bands:
    """1 × 1 convolution. weight (O, C).

    The dilation changes nothing but makes PyTorch use oneDNN with one thread too, at half the time of its matrix
    product on a CPU with AVX-512 by AMD.
    """
    for band in bands:
        yield _convolve(band, weight[:, :, None, None], dilation=2)


def _convolve(band: Tensor, weight: Tensor, **settings: Any) -> Tensor:
    return F.conv2d(band[None].permute(0, 3, 1, 2), weight, **settings)[0].permute(1, 2, 0)


def activate(bands: Bands, bias: Tensor, noise: Tensor | None, slope: float) -> Bands:
    """Adds bias (C,) and noise (H, W), and applies leaky ReLU."""
    row = 0
    for band in bands:
        shifted = band + bias
        if noise is not None:
            shifted += noise[row : row + len(band), :, None]
            row += len(band)
        yield F.leaky_relu_(shifted, slope)


def idwt(bands: Bands, factors: Tensor | float) -> Bands:
    """Inverse Haar transform, as `mobilestylegan.idwt`, of bands times factors, one number or (4C,).

    4C channels → C channels, twice the rows, twice the width.
    """
    for band in bands:
        band = band * (factors * 0.5)
        rows, width, channels = band.shape[0], band.shape[1], band.shape[2] // 4
        low = band[:, :, :channels]
        lh, hl, hh = band[:, :, channels:].unflatten(2, (channels, 3)).unbind(3)
        top, bottom, left, right = low + lh, low - lh, hl + hh, hl - hh
        out = band.new_empty(rows, 2, width, 2, channels)
        torch.add(top, left, out=out[:, 0, :, 0])
        torch.sub(top, left, out=out[:, 0, :, 1])
        torch.add(bottom, right, out=out[:, 1, :, 0])
        torch.sub(bottom, right, out=out[:, 1, :, 1])
        yield out.view(2 * rows, 2 * width, channels)
