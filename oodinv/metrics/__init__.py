"""Registry of metrics: one line each in `METRICS` or `DISTANCES`."""

from typing import TypeVar

from oodinv.errors import RecipeError
from oodinv.metrics import frechet, identity, perceptual, pixel, structure
from oodinv.metrics.base import FeatureDistance, Metric
from oodinv.records import choose

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
    """Returns the metric of a name.

    Raises:
        RecipeError: there is none; the message lists all names.
    """
    return _named(METRICS, name, "metric")


def find_distance(name: str) -> FeatureDistance:
    """Returns the distance of a name; raises as `find_metric`."""
    return _named(DISTANCES, name, "distance")


def _named(entries: tuple[M, ...], name: str, noun: str) -> M:
    try:
        return choose(entries, name, noun)
    except ValueError as error:
        raise RecipeError(str(error)) from error
