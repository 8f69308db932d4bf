"""Metrics: how well pictures agree, one line each in `METRICS` or `DISTANCES`."""

from typing import TypeVar

from oodinv.errors import RecipeError
from oodinv.metrics import frechet, identity, perceptual, pixel, structure
from oodinv.metrics.base import FeatureDistance, Metric

M = TypeVar("M", Metric, FeatureDistance)

METRICS: tuple[Metric, ...] = (
    pixel.PSNR,
    pixel.PSNR_PEAK_SQRT2,
    structure.SSIM,
    structure.MS_SSIM,
    pixel.MSE_UNIT,
    pixel.MSE_PM1,
    pixel.MAE_PM1,
    perceptual.LPIPS_ALEXNET,
    perceptual.LPIPS_VGG16,
    identity.IDENTITY_SFACE,
    identity.IDENTITY_ARCFACE,
)
"""Scores of single pictures."""

DISTANCES: tuple[FeatureDistance, ...] = (
    frechet.FRECHET_SFACE,
    frechet.FID,
)
"""Distances between sets of pictures."""


def find_metric(name: str) -> Metric:
    """Returns the metric of a name; raises RecipeError with the names that there are."""
    return _find(METRICS, "metric", name)


def find_distance(name: str) -> FeatureDistance:
    """Returns the distance of a name; raises RecipeError with the names that there are."""
    return _find(DISTANCES, "distance", name)


def _find(listed: tuple[M, ...], noun: str, name: str) -> M:
    found = {entry.name: entry for entry in listed}
    if name not in found:
        raise RecipeError(f"there is no {noun} {name!r}; choose among {', '.join(found)}")
    return found[name]
