"""Moving averages of weights."""

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def frozen_copy(module: M) -> M:
    """A copy in evaluation mode that takes no gradient."""
    return copy.deepcopy(module).eval().requires_grad_(False)


def decay_for(batch: int, half_life_images: int) -> float:
    """Decay for a batch so that a weight's share halves every `half_life_images` images."""
    return float(0.5 ** (batch / half_life_images))


@torch.no_grad()
def update(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Moves the average towards the module: p̄ ← decay·p̄ + (1 − decay)·p; whole-number buffers are copied."""
    for target, source in zip(average.state_dict().values(), module.state_dict().values(), strict=True):
        if target.is_floating_point():
            target.lerp_(source, 1 - decay)
        else:
            target.copy_(source)
