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
"""The side of a score that is the better one."""


@dataclass(frozen=True)
class Setting:
    """What a metric's networks are loaded for: the device, and `crop.scale` of the model's card."""

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
        better: the better side.
        digits: decimals in tables.
        meaning: explanation in tables and reports.
        load: loads the networks and returns the measure; raises MissingWeights for a file that has to be
            fetched by hand.
        regional: whether it can be restricted to a region by a weight.
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
