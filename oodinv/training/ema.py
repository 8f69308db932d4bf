"""Moving averages of weights."""

import copy
from typing import TypeVar

import torch
from torch import nn

from oodinv.recipe.train import Schedule

M = TypeVar("M", bound=nn.Module)


def frozen_copy(module: M) -> M:
    """A copy in evaluation mode that takes no gradient."""
    return copy.deepcopy(module).eval().requires_grad_(False)


RAMP = 0.05
"""The half-life is at most this share of the images seen, so that the first weights are soon forgotten."""


def decay_for(batch: int, half_life_images: int, seen: int) -> float:
    """Decay for a batch so that a weight's share halves every `half_life_images` images, sooner at the start.

    `seen`: images before this batch. Source: the EMA ramp-up of StyleGAN2-ADA.
    """
    half_life = min(float(half_life_images), max(seen, 1) * RAMP)
    return float(0.5 ** (batch / max(half_life, 1e-8)))


def decay_at(schedule: Schedule, step: int, batch: int) -> float:
    """Decay of a step: the recipe's constant one, or that of its half-life."""
    if schedule.ema_decay is not None:
        return schedule.ema_decay
    return decay_for(batch, schedule.ema_images, step * batch)


@torch.no_grad()
def update(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Moves the average towards the module: p̄ ← decay·p̄ + (1 − decay)·p; whole-number buffers are copied."""
    for target, source in zip(average.state_dict().values(), module.state_dict().values(), strict=True):
        if target.is_floating_point():
            target.lerp_(source, 1 - decay)
        else:
            target.copy_(source)
