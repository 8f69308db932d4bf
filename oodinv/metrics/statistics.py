"""Summaries of one score over many pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Statistic:
    """Mean over `count` pictures; standard error of the mean (0 for one picture); bootstrap interval low to high."""

    mean: float
    error: float
    low: float
    high: float
    count: int


def summarize(values: Sequence[float | None], *, seed: int, resamples: int = 1000) -> Statistic | None:
    """Mean, standard error, and the 95 % percentile bootstrap interval of the mean; None without any value.

    None and values that are not finite are left out and not counted: an empty region has no score, and equal
    pictures have no finite PSNR. The same values and seed give the same result to the last digit.
    Source for the interval: "An Introduction to the Bootstrap" (Efron and Tibshirani, 1993), chapter 13.
    """
    found = np.array([v for v in values if v is not None and np.isfinite(v)], np.float64)
    if not found.size:
        return None
    rng = np.random.Generator(np.random.PCG64(seed))
    means = np.array([found[rng.integers(0, found.size, found.size)].mean() for _ in range(resamples)])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    error = found.std(ddof=1) / np.sqrt(found.size) if found.size > 1 else 0.0
    return Statistic(float(found.mean()), float(error), float(low), float(high), found.size)
