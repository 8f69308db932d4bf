"""Structural similarity, SSIM and MS-SSIM, of colour pictures; optionally weighted to a region.

Sources: "Image Quality Assessment: From Error Visibility to Structural Similarity" (Wang et al., 2004) and
"Multiscale Structural Similarity for Image Quality Assessment" (Wang et al., 2003). Colour
channels are measured separately and averaged; only windows completely inside the picture are used.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from oodinv.metrics.base import Metric, without_network
from oodinv.metrics.pixel import weighted_mean

TAPS, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST = (TAPS - 1) * 2 ** (len(SCALE_WEIGHTS) - 1) + 1
"""Smallest side in pixels at which MS-SSIM's coarsest scale has a whole window."""


def _smooth(x: Tensor) -> Tensor:
    """Gaussian window, without padding. (B, C, H, W) → (B, C, H − 10, W − 10)."""
    position = torch.arange(TAPS, dtype=x.dtype, device=x.device) - TAPS // 2
    taps = torch.exp(-position.square() / (2 * SIGMA**2))
    taps = (taps / taps.sum()).expand(x.shape[1], 1, 1, TAPS)
    x = F.conv2d(x, taps, groups=x.shape[1])
    return F.conv2d(x, taps.transpose(2, 3), groups=x.shape[1])


def _maps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM and its contrast-and-structure factor at each pixel; a, b float64 (B, C, H, W) in [0, 1]."""
    mean_a, mean_b = _smooth(a), _smooth(b)
    var_a = _smooth(a * a) - mean_a * mean_a
    var_b = _smooth(b * b) - mean_b * mean_b
    covariance = _smooth(a * b) - mean_a * mean_b
    c1, c2 = K1**2, K2**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    contrast = (2 * covariance + c2) / (var_a + var_b + c2)
    return luminance * contrast, contrast


def _unit(x: Tensor) -> Tensor:
    return (x.double() + 1) / 2


def _inner(weight: Tensor) -> Tensor:
    """A weight (B, 1, H, W) at the centres of whole windows."""
    border = TAPS // 2
    return weight[..., border:-border, border:-border]


def ssim(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """SSIM of pictures a, b (B, 3, H, W) in [−1, 1], at least 11 pixels on a side → (B,), 1 for equal ones.

    weight (B, 1, H, W): a window counts with the weight of its centre.
    """
    similarity, _ = _maps(_unit(a), _unit(b))
    return weighted_mean(similarity, None if weight is None else _inner(weight))


def ms_ssim(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """MS-SSIM over five scales of pictures a, b (B, 3, H, W) in [−1, 1] → (B,), 1 for equal ones.

    Each channel's product over scales is taken before channels are averaged; negative factors are treated as 0.

    Raises:
        ValueError: a picture is smaller than SMALLEST pixels.
    """
    if min(a.shape[-2:]) < SMALLEST:
        raise ValueError(f"MS-SSIM needs pictures of at least {SMALLEST} pixels, not {tuple(a.shape[-2:])}")
    a, b = _unit(a), _unit(b)
    weight = None if weight is None else weight.double()
    product = torch.ones(a.shape[:2], dtype=a.dtype, device=a.device)
    for scale, exponent in enumerate(SCALE_WEIGHTS):
        similarity, contrast = _maps(a, b)
        factor = similarity if scale == len(SCALE_WEIGHTS) - 1 else contrast
        product = product * _by_channel(factor, weight).clamp(min=0) ** exponent
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        weight = None if weight is None else F.avg_pool2d(weight, 2)
    return product.mean(dim=1)


def _by_channel(values: Tensor, weight: Tensor | None) -> Tensor:
    """Means over pixels alone, (B, C, H, W) → (B, C)."""
    weight = None if weight is None else _inner(weight)
    return torch.stack([weighted_mean(v, weight) for v in values.split(1, dim=1)], dim=1)


SSIM = Metric(
    "ssim",
    "SSIM",
    "higher",
    4,
    "structural similarity, 11-tap Gaussian window (sigma 1.5), mean over RGB",
    without_network(ssim),
    min_size=TAPS,
)
MS_SSIM = Metric(
    "ms_ssim",
    "MS-SSIM",
    "higher",
    4,
    "structural similarity over five scales, mean over RGB",
    without_network(ms_ssim),
    min_size=SMALLEST,
)
