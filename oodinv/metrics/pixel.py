"""Pixel errors: MSE in both conventions of range, MAE, PSNR; optionally weighted to a region.

Pictures are in [−1, 1]; the suffix `_unit` marks results for the range [0, 1]. Sums are in float64.
"""

import torch
from torch import Tensor

from oodinv.metrics.base import Metric, without_network

PEAK = 2.0  # from −1 to 1


def weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Mean over channels and pixels → (B,) float64. values (B, C, H, W), weight (B, 1, H, W) ≥ 0 or None.

    NaN for a picture whose weights are all zero.
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
    """Mean squared error of the same pictures scaled to [0, 1]: a quarter of `mse_pm1` → (B,)."""
    return mse_pm1(a, b, weight) / PEAK**2


def mae_pm1(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean absolute error of pictures a, b (B, 3, H, W) in [−1, 1] → (B,), in [0, 2]."""
    return weighted_mean((a.double() - b.double()).abs(), weight)


def psnr(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB, 10 · log10(peak² / MSE) → (B,); infinite for equal pictures."""
    return 10 * torch.log10(PEAK**2 / mse_pm1(a, b, weight))


def psnr_peak_sqrt2(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """PSNR in dB by the formula of GANInverter's test script, 10 · log10(2 / MSE) on [−1, 1]: 3.01 dB below `psnr`."""
    return 10 * torch.log10(2.0 / mse_pm1(a, b, weight))


PSNR = Metric("psnr", "PSNR dB", "higher", 2, "10 log10(peak² / MSE), mean over pictures", without_network(psnr))
PSNR_PEAK_SQRT2 = Metric(
    "psnr_peak_sqrt2",
    "PSNR (peak² = 2) dB",
    "higher",
    2,
    "10 log10(2 / MSE on [-1, 1]): PSNR less 3.01 dB",
    without_network(psnr_peak_sqrt2),
)
MSE_UNIT = Metric(
    "mse_unit", "MSE [0, 1]", "lower", 5, "mean squared error of pictures in [0, 1]", without_network(mse_unit)
)
MSE_PM1 = Metric(
    "mse_pm1",
    "L2 [-1, 1]",
    "lower",
    4,
    "mean squared error of pictures in [-1, 1], four times that in [0, 1]",
    without_network(mse_pm1),
)
MAE_PM1 = Metric(
    "mae_pm1", "MAE [-1, 1]", "lower", 4, "mean absolute error of pictures in [-1, 1]", without_network(mae_pm1)
)
