"""Arithmetic of StyleGAN2 and of alignment: pure functions on tensors, no parameters.

Sources: "Analyzing and Improving the Image Quality of StyleGAN" (StyleGAN2, Karras et al. 2020) and
"Out-of-domain GAN inversion via invertibility decomposition" (Yang et al., ICCV 2023).
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from oodinv.models.winograd import conv3x3, eager_on_cpu

LEAKY_SLOPE = 0.2
ACTIVATION_GAIN = math.sqrt(2.0)


@lru_cache(maxsize=64)
def _binomial_kernel(channels: int, gain: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # the cache outlives the mode of its first caller
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8.0
        kernel = torch.outer(taps, taps) * gain
        return kernel.to(device, dtype).expand(channels, 1, 4, 4).contiguous()


def _filter_kernel(x: Tensor, gain: float) -> Tensor:
    return _binomial_kernel(x.shape[1], gain, x.device, x.dtype)


def blur(x: Tensor, before: int, after: int, gain: float = 1.0, stride: int = 1) -> Tensor:
    """Low-pass filter with [1, 3, 3, 1] ⊗ [1, 3, 3, 1] / 64, zero-padded on both axes.

    x (B, C, H, W) → (B, C, H', W'), H' = ⌊(H + before + after − 4) / stride⌋ + 1. The kernel is symmetric, so
    correlation and convolution agree. Source: StyleGAN2, appendix B.
    """
    kernel = _filter_kernel(x, gain)
    with torch.autocast(x.device.type, enabled=False):  # flows and masks stay in float32
        if before == after:
            return F.conv2d(x, kernel, stride=stride, padding=before, groups=x.shape[1])
        return F.conv2d(F.pad(x, (before, after, before, after)), kernel, stride=stride, groups=x.shape[1])


def upsample2(x: Tensor) -> Tensor:
    """Doubles the size of an RGB image through the binomial filter. (B, C, H, W) → (B, C, 2H, 2W).

    A transposed convolution is zero insertion and filter in one; gain 4 keeps the brightness.
    """
    with torch.autocast(x.device.type, enabled=False):  # colour stays in float32
        return F.conv_transpose2d(x, _filter_kernel(x, 4.0), stride=2, padding=1, groups=x.shape[1])


def normalize_second_moment(z: Tensor, eps: float = 1e-8) -> Tensor:
    """z · (mean(z²) + eps)^(−1/2) over the last axis. (B, z_dim) → (B, z_dim)."""
    return z * torch.rsqrt(z.square().mean(dim=-1, keepdim=True) + eps)


def leaky(x: Tensor, bias: Tensor | None = None, clamp: float | None = None) -> Tensor:
    """√2 · leaky_relu(x + bias, 0.2), clipped to ±clamp if given; the gain keeps the variance.

    x (B, C, ...), bias (C,). Source: StyleGAN2; StyleGAN2-ADA clips after the gain, which doesn't scale its bound.
    """
    if bias is None:
        x = F.leaky_relu(x, LEAKY_SLOPE) * ACTIVATION_GAIN
    else:  # the gain goes through leaky_relu, and into the addition of the bias it comes for nothing
        shift = (bias * ACTIVATION_GAIN).to(x.dtype).reshape(1, -1, *([1] * (x.ndim - 2)))
        shifted = torch.add(shift, x, alpha=ACTIVATION_GAIN)
        x = F.leaky_relu(shifted, LEAKY_SLOPE, inplace=not torch.is_grad_enabled())
    return x if clamp is None else x.clamp(-clamp, clamp)


@lru_cache(maxsize=1)
def _start_vector_math() -> None:
    """Calls MKL's tanh once from a single thread, before threads share it.

    If two threads make the first call of a process at once, one of them may get a variant with errors of up to 5e-5
    (observed with PyTorch 2.13 on a CPU with AVX-512, about once in a thousand processes).
    """
    torch.tanh(torch.zeros(1))


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent, of any shape; reproducible from the first call of a process on."""
    _start_vector_math()
    return torch.tanh(x)


def demodulation(weight: Tensor, style: Tensor, eps: float = 1e-8) -> Tensor:
    """Factors that restore unit variance in each output channel of a modulated convolution.

    weight (O, I, k, k), style (B, I) → (B, O): (Σ_{i,k} (w_oik · s_i)² + eps)^(−1/2), summed in float32.
    Source: StyleGAN2, equation 3.
    """
    energy = weight.float().square().sum(dim=(2, 3))
    return torch.rsqrt(style.float().square() @ energy.t() + eps)


def modulated_conv2d(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, up: bool = False) -> Tensor:
    """Convolution whose input channels are scaled by a style, optionally doubling the size.

    x (B, I, H, W), weight (O, I, k, k) with odd k, style (B, I) → (B, O, H, W), or (B, O, 2H, 2W) with `up`.
    The style scales the input and the demodulation scales the output, which equals scaling the weights but
    shares one convolution among the batch. For inference on the CPU each sample is convolved with weights of its
    own: there the batch gains nothing, and scaling weights takes less time than scaling maps. Weights are
    multiplied by 1/√(I·k²) here (equalised learning rate).
    Source: StyleGAN2, equations 1–3.
    """
    scaled = weight * (1.0 / math.sqrt(weight[0].numel()))
    factors = demodulation(scaled, style) if demodulate else None
    if eager_on_cpu(x):
        weights = scaled * style[:, None, :, None, None]
        weights = weights if factors is None else weights * factors[:, :, None, None, None]
        return _joined([_convolve(one, w.to(x.dtype), up) for one, w in zip(x.split(1), weights, strict=True)])
    x = _convolve(x * style[:, :, None, None].to(x.dtype), scaled.to(x.dtype), up)
    return x if factors is None else x * factors[:, :, None, None].to(x.dtype)


def _convolve(x: Tensor, weight: Tensor, up: bool) -> Tensor:
    """Convolution of `modulated_conv2d`, with weights (O, I, k, k) that are already scaled."""
    if up:
        return blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), 1, 1, gain=4.0)
    return conv3x3(x, weight) if weight.shape[-1] == 3 else F.conv2d(x, weight, padding=weight.shape[-1] // 2)


def _joined(samples: list[Tensor]) -> Tensor:
    """Concatenates samples (1, ...) to a batch."""
    return samples[0] if len(samples) == 1 else torch.cat(samples)


def instance_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Zero mean and unit variance for each sample and channel over space, with sums in float32.

    (B, C, H, W) → (B, C, H, W), times `weight` (C,) plus `bias` (C,) if given.
    """
    if x.device.type != "cpu":
        return F.instance_norm(x.float(), weight=weight, bias=bias, eps=eps).to(x.dtype)
    # A single sample's batch norm is its instance norm, but leaves the channels last where they are. It reads bfloat16
    # as it is and sums in float32, at a quarter of the time of going through float32.
    ready = x if x.dtype == torch.bfloat16 else x.float()
    norms = [F.batch_norm(one, None, None, weight, bias, training=True, eps=eps) for one in ready.split(1)]
    return _joined(norms).to(x.dtype)


@lru_cache(maxsize=32)
def identity_grid(size: int, device: torch.device) -> Tensor:
    """Sampling grid of the published warp, float32 (1, size, size, 2) with x before y.

    It spans linspace(−1, 1), the convention of align_corners=True, while `warp` samples with
    align_corners=False; the mismatch is part of the published method.
    """
    with torch.inference_mode(False):  # the cache outlives the mode of its first caller
        axis = torch.linspace(-1, 1, size, device=device)
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        return torch.stack([x, y], dim=-1)[None]


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Samples x at the identity grid plus flow, bilinearly, with zeros outside.

    x (B, C, S, S), flow (B, 2, S, S): dx, dy in grid units, where 2 is the width of the picture.
    """
    grid = identity_grid(x.shape[-1], x.device) + flow.float().permute(0, 2, 3, 1)
    return F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False).to(x.dtype)


def fuse_masks(coarse: Tensor, fine: Tensor) -> Tensor:
    """c·y + c·(1 − c): refines a mask c by a mask y of the same shape; values in [0, 1]."""
    return (coarse * fine + coarse * (1 - coarse)).clamp(0, 1)


def resize(x: Tensor, size: int) -> Tensor:
    """Bilinear resizing to size × size, half-pixel centres. (B, C, H, W) → (B, C, size, size)."""
    if x.shape[-1] == size and x.shape[-2] == size:
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)


def average_resize(x: Tensor, size: int) -> Tensor:
    """Averages images (B, C, S, S) down, or enlarges them bilinearly, to (B, C, size, size)."""
    return F.adaptive_avg_pool2d(x, size) if x.shape[-1] > size else resize(x, size)


def final_mask(masks: dict[int, Tensor], size: int) -> Tensor:
    """Invertibility mask of the output from the masks at each size, coarse to fine.

    masks {s: (B, 1, s, s)} in [0, 1] → (B, 1, size, size), 1 = out of domain.

    Raises:
        ValueError: no mask is given.
    """
    if not masks:
        raise ValueError("final_mask needs at least one mask")
    coarsest, *finer = sorted(masks)
    mask = resize(masks[coarsest].float(), size)
    for s in finer:
        mask = fuse_masks(mask, resize(masks[s].float(), size))
    return mask.clamp(0, 1)


def composite(image: Tensor, generated: Tensor, mask: Tensor) -> Tensor:
    """y = M·x + (1 − M)·g. image, generated (B, 3, H, W) in [−1, 1], mask (B, 1, H, W), 1 = image."""
    return mask * image + (1 - mask) * generated
