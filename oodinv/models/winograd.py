"""Winograd's 3 × 3 convolution for inference on the CPU: a quarter of the multiplications.

Source: "Fast Algorithms for Convolutional Neural Networks" (Lavin and Gray, CVPR 2016): F(4 × 4, 3 × 3). Windows of
6 × 6 pixels that overlap by two are transformed, multiplied with transformed weights as 36 matrix products over the
channels, and transformed back to tiles of 4 × 4. The points ±1/√2 and ±√2 in place of the paper's ±1 and ±2 make the
rounding errors four times smaller: 1e-5 of the result's standard deviation at most. In bfloat16, where sums are in
float32, the error is 1.5 % of the standard deviation on average, five times that of a plain convolution.
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

POINTS = (0.0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2.0), -math.sqrt(2.0))
"""Points at which polynomials are evaluated; the sixth is infinity."""

TILE, TAPS, WINDOW = 4, 3, 6
TILES_AT_ONCE = 128
"""Tiles per matrix product: enough for efficiency, few enough for the processor's cache. With many channels more tiles
are faster, because each product reads all the weights."""

LEAST_CHANNELS, LEAST_PIXELS = 128, 1024
"""Below these, the transforms cost more time than they save."""


class Transforms(NamedTuple):
    """Matrices for a window (36, 36), a weight (36, 9) and a product (16, 36), each flattened row by row."""

    window: Tensor
    weight: Tensor
    product: Tensor


@lru_cache(maxsize=2)
def transforms(dtype: torch.dtype) -> Transforms:
    """The Toom–Cook construction at `POINTS` and infinity."""
    points = np.array(POINTS)
    others = [np.delete(points, i) for i in range(len(points))]
    scale = np.array([np.prod(point - rest) for point, rest in zip(points, others, strict=True)])
    weight = np.vander(points, TAPS, increasing=True) / scale[:, None]
    weight = np.vstack([weight, np.eye(TAPS)[-1]])
    product = np.vstack([np.vander(points, TILE, increasing=True), np.eye(TILE)[-1]]).T
    window = np.zeros((WINDOW, WINDOW))
    for row, roots in enumerate([*others, points]):
        window[row, : len(roots) + 1] = np.poly(roots)[::-1]
    with torch.inference_mode(False):  # the cache outlives the mode of its first caller
        return Transforms(*(torch.from_numpy(np.kron(m, m)).to(dtype) for m in (window, weight, product)))


Convolution = Callable[[Tensor], Tensor]


def conv3x3(x: Tensor, weight: Tensor) -> Tensor:
    """3 × 3 convolution with stride 1 and zero padding; by Winograd's algorithm if that is faster, without gradients.

    x (B, I, H, W), weight (O, I, 3, 3) → (B, O, H, W).
    """
    return convolution(weight, x)(x)


def convolution(weight: Tensor, example: Tensor) -> Convolution:
    """`conv3x3` with the same weights for several maps like `example`; weights are transformed once."""
    if pays(example, weight):
        return partial(winograd, weights=transformed(weight, number_format(example)))
    return partial(F.conv2d, weight=weight, padding=1)


def number_format(x: Tensor) -> torch.dtype:
    """Number format of a convolution of x: that of autocast if it is enabled, otherwise of x."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def eager_on_cpu(x: Tensor) -> bool:
    """True if x is on a CPU and neither trained, compiled nor exported."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def exported() -> bool:
    """True while a graph for other programs is recorded; they take convolutions with constant weights best."""
    return torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()


def pays(x: Tensor, weight: Tensor) -> bool:
    """True if `winograd` can do this convolution and is faster than `conv2d`."""
    height, width = x.shape[-2:]
    return (
        eager_on_cpu(x)
        and (x.dtype == weight.dtype or torch.is_autocast_enabled("cpu"))
        and number_format(x) in (torch.float32, torch.bfloat16)
        and min(weight.shape[:2]) >= LEAST_CHANNELS
        and height * width >= LEAST_PIXELS
        and height % TILE == width % TILE == 0
    )


def transformed(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """(O, I, 3, 3) → (36, I, O) in `dtype`: four times as many values. Computed in float32."""
    outputs, inputs = weight.shape[:2]
    flat = weight.float().reshape(outputs * inputs, TAPS * TAPS)
    with torch.autocast(weight.device.type, enabled=False):
        found = transforms(torch.float32).weight @ flat.t()
    return found.to(dtype).view(WINDOW**2, outputs, inputs).transpose(1, 2)


def winograd(x: Tensor, weights: Tensor) -> Tensor:
    """Equals `F.conv2d(x, weight, padding=1)`, for H and W divisible by four and `transformed` weights.

    x (B, I, H, W) on the CPU, weights (36, I, O), float32 or bfloat16 → (B, O, H, W) in the format of the weights,
    channels last in memory.
    """
    batch, inputs, height, width = x.shape
    outputs, across, down = weights.shape[-1], width // TILE, height // TILE
    padded = framed(x, weights.dtype)
    out = padded.new_empty(batch, down, TILE, across, TILE, outputs)
    step = max(1, max(TILES_AT_ONCE, inputs // 4) // across)
    transform = transforms(weights.dtype)
    for sample in range(batch):
        for top in range(0, down, step):
            rows = min(step, down - top)
            some = windows(padded[sample, TILE * top :], rows, across).reshape(WINDOW**2, -1)
            some = (transform.window @ some).view(WINDOW**2, rows * across, inputs)
            products = torch.bmm(some, weights).view(WINDOW**2, -1)
            tiles = (transform.product @ products).view(TILE, TILE, rows, across, outputs)
            out[sample, top : top + rows] = tiles.permute(2, 0, 3, 1, 4)
    return out.view(batch, height, width, outputs).permute(0, 3, 1, 2)


def framed(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Pads pictures with a border of zeros and puts channels last: (B, C, H, W) → (B, H + 2, W + 2, C) in `dtype`."""
    batch, channels, height, width = x.shape
    padded = x.new_empty(batch, height + 2, width + 2, channels, dtype=dtype)
    padded[:, 1:-1, 1:-1] = x.permute(0, 2, 3, 1)
    padded[:, (0, -1)] = 0
    padded[:, :, (0, -1)] = 0
    return padded


def windows(padded: Tensor, rows: int, across: int) -> Tensor:
    """Overlapping 6 × 6 windows of a picture (H, W, C), 4 pixels apart, as a view (6, 6, rows, across, C)."""
    down, right, channel = padded.stride()
    strides = (down, right, TILE * down, TILE * right, channel)
    return padded.as_strided((WINDOW, WINDOW, rows, across, padded.shape[-1]), strides, padded.storage_offset())
