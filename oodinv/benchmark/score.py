"""Scores of one batch: each metric of a protocol, at its size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from oodinv.errors import MissingWeights, RecipeError
from oodinv.imaging.pixels import Pixels, levels_of, signed, to_tensor
from oodinv.metrics import find_distance, find_metric
from oodinv.metrics.base import FeatureDistance, FeatureFunction, Measure, Metric, Setting
from oodinv.recipe.benchmark import BenchmarkRecipe, MetricUse

L = TypeVar("L")


@dataclass(frozen=True, eq=False)
class LoadedMetric:
    """A metric of a protocol with its networks loaded."""

    use: MetricUse
    metric: Metric
    measure: Measure


@dataclass(frozen=True, eq=False)
class LoadedDistance:
    """A distance of a protocol with its network loaded."""

    distance: FeatureDistance
    features: FeatureFunction


@dataclass(frozen=True, eq=False)
class Scorer:
    """The metrics and distances of a protocol, loaded.

    notes: metrics skipped because a file has to be downloaded by hand, and its source.
    """

    metrics: tuple[LoadedMetric, ...]
    distances: tuple[LoadedDistance, ...]
    notes: tuple[str, ...]

    def score(self, reference: Tensor, result: Tensor, weight: Tensor | None = None) -> dict[str, list[float]]:
        """Scores of results (B, 3, H, W) against references (B, 3, R, R), both in [−1, 1], by the metrics' keys.

        weight (B, 1, H, W) restricts them to a region; metrics that can't be restricted are then omitted.
        """
        scores = {}
        with torch.inference_mode():
            for loaded in self.metrics:
                if weight is not None and not loaded.metric.regional:
                    continue
                size = loaded.use.size or result.shape[-1]
                a, b = at_size(reference, size), at_size(result, size)
                values = loaded.measure(a, b, None if weight is None else at_size(weight, size))
                scores[loaded.use.key] = [float(v) for v in values.cpu()]
        return scores

    def features(self, images: Tensor) -> dict[str, NDArray[np.float64]]:
        """Features (B, D) of pictures (B, 3, H, W) in [−1, 1], by the names of the distances."""
        return {loaded.distance.name: loaded.features(images) for loaded in self.distances}


def check_metrics(recipe: BenchmarkRecipe, model_size: int | None = None) -> None:
    """Checks a protocol's metrics and distances without loading anything.

    model_size: the model's size, at which metrics without a size compare.

    Raises:
        RecipeError: an unknown name, or a size below the smallest at which the metric is defined.
    """
    for use in recipe.metrics:
        smallest = find_metric(use.metric).min_size
        size = use.size or model_size
        if size is not None and size < smallest:
            power = 1 << (smallest - 1).bit_length()
            raise RecipeError(f"recipe {recipe.name}: {use.metric} needs a size of at least {power}, not {size}")
    for name in recipe.distances:
        find_distance(name)


def load_scorer(recipe: BenchmarkRecipe, setting: Setting) -> Scorer:
    """Loads the networks of a protocol's metrics and distances, downloading them if necessary.

    Raises:
        WeightsError: a file can't be downloaded, is damaged, or is another network.
    """
    notes: list[str] = []

    def load(title: str, loader: Callable[[Setting], L]) -> L | None:
        try:
            return loader(setting)
        except MissingWeights as missing:
            notes.append(f"{title} is not measured: {missing}")
            return None

    uses = [(use, find_metric(use.metric)) for use in recipe.metrics]
    measures = {metric.name: load(metric.title, metric.load) for metric in dict.fromkeys(m for _, m in uses)}
    distances = [(distance, load(distance.title, distance.load)) for distance in map(find_distance, recipe.distances)]
    return Scorer(
        tuple(LoadedMetric(use, m, measure) for use, m in uses if (measure := measures[m.name]) is not None),
        tuple(LoadedDistance(distance, features) for distance, features in distances if features is not None),
        tuple(notes),
    )


def as_saved(images: Tensor) -> Tensor:
    """Pictures as a file stores them: clipped, rounded to 8 bits. (B, 3, H, W) → same shape, in [−1, 1]."""
    return signed(levels_of(images).round().clamp(0, 255))


def at_size(images: Tensor, size: int) -> Tensor:
    """Resizes bilinearly, anti-aliased when shrinking. (B, C, H, W) → (B, C, size, size)."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)


def to_batch(crops: list[Pixels], device: torch.device) -> Tensor:
    """Crops uint8 (S, S, 3) of one size → float32 (B, 3, S, S) in [−1, 1] on a device."""
    return torch.cat([to_tensor(crop) for crop in crops]).to(device)
