"""Errors of pixels: MSE in both conventions of range, MAE, PSNR; optionally weighted to a region.

Pictures are in [−1, 1] everywhere; a name says when a result belongs to the range [0, 1]. Sums are in float64.
"""

import torch
from torch import Tensor

PEAK = 2.0  # from −1 to 1


def weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Mean over channels and pixels → (B,) float64. values (B, C, H, W), weight (B, 1, H, W) ≥ 0 or None.

    A picture whose weights are all zero gives NaN: there is no region to speak of.
    """
    values = values.double()
    if weight is None:
        return values.mean(dim=(1, 2, 3))
    weight = weight.double().expand_as(values)
    return (values * weight).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))


def mse_pm1(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared error of pictures a, b (B, 3, H, W) in [−1, 1] → (B,), in [0, 4]."""
    return weighted_mean((a.double() - b.double()).square(), weight)


def mse_unit(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared error as it would be if the same pictures were in [0, 1]: a quarter of `mse_pm1`."""
    return mse_pm1(a, b, weight) / PEAK**2


def mae_pm1(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean absolute error of pictures a, b (B, 3, H, W) in [−1, 1] → (B,), in [0, 2]."""
    return weighted_mean((a.double() - b.double()).abs(), weight)


def psnr(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB, 10 · log10(peak² / MSE) → (B,); infinite for equal pictures."""
    return 10 * torch.log10(PEAK**2 / mse_pm1(a, b, weight))


def psnr_peak_sqrt2(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """10 · log10(2 / MSE) on [−1, 1], as GANInverter's test script has it: 3.01 dB below `psnr`."""
    return 10 * torch.log10(2.0 / mse_pm1(a, b, weight))
