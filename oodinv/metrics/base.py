"""Definition of metrics: scores of single pictures, and distances between sets of pictures.

A metric is declared in the file that computes it, as a `Metric` or a `FeatureDistance`, and listed by one line in
`oodinv.metrics`. Protocols, table columns and their explanations are all taken from the declaration. Pictures are in
[−1, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Better = Literal["lower", "higher"]
"""Direction of better scores."""


@dataclass(frozen=True)
class Setting:
    """Setting in which a metric is used: the device, and `crop.scale` of the model's card."""

    device: torch.device
    crop_scale: float = 1.0


Measure = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(a, b, weight) → (B,): pictures (B, 3, H, W), weight (B, 1, H, W) ≥ 0 or None."""

FeatureFunction = Callable[[Tensor], NDArray[np.float64]]
"""Pictures (B, 3, H, W) → features (B, D)."""


@dataclass(frozen=True)
class Metric:
    """A score of one picture against its reference.

    Args:
        name: key in protocols and files.
        title: heading in tables.
        better: direction of better scores.
        digits: decimals in tables.
        meaning: explanation in tables and reports.
        load: loads the networks and returns the measure; raises MissingWeights for a file that has to be
            downloaded by hand.
        regional: true if a weight can restrict it to a region.
        min_size: smallest side in pixels at which it is defined.
    """

    name: str
    title: str
    better: Better
    digits: int
    meaning: str
    load: Callable[[Setting], Measure]
    regional: bool = True
    min_size: int = 1


@dataclass(frozen=True)
class FeatureDistance:
    """Fréchet distance between two sets of pictures in the features of a network.

    The arguments are those of `Metric`; `load` returns the feature function. Lower is better.
    """

    name: str
    title: str
    digits: int
    meaning: str
    load: Callable[[Setting], FeatureFunction]


def without_network(measure: Measure) -> Callable[[Setting], Measure]:
    """`Metric.load` of a measure that needs no network."""
    return lambda _setting: measure
