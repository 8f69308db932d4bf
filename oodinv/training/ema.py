"""Exponential moving averages of weights."""

from typing import Generic, TypeVar, cast

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from oodinv.recipe.train import Schedule

M = TypeVar("M", bound=nn.Module)

RAMP = 0.05
"""Largest half-life as a fraction of the images seen, so that the initial weights are soon forgotten."""


class MovingAverage(Generic[M]):
    """Moving average of a module's parameters and floating-point buffers; integer buffers are copied.

    module: the averaged module, in evaluation mode and without gradients.
    """

    def __init__(self, module: M) -> None:
        self._averaged = AveragedModel(module, avg_fn=self._mix, use_buffers=True).eval().requires_grad_(False)
        self._averaged.n_averaged += 1  # the copy is the first average; at 0 an update would replace it
        self._decay = 0.0

    @property
    def module(self) -> M:
        """The averaged module."""
        return cast(M, self._averaged.module)

    def update(self, module: nn.Module, decay: float) -> None:
        """Moves the average towards the module: p̄ ← decay·p̄ + (1 − decay)·p."""
        self._decay = decay
        self._averaged.update_parameters(module)

    def _mix(self, average: Tensor, current: Tensor, _count: Tensor | int) -> Tensor:
        return average.lerp(current, 1 - self._decay) if average.is_floating_point() else current


def decay_for(batch: int, half_life_images: int, seen: int) -> float:
    """Decay of one step of `batch` images: the share of earlier weights halves every `half_life_images` images.

    At the start the half-life is RAMP times the images seen so far.

    seen: images before this batch. Source: the EMA ramp-up of StyleGAN2-ADA.
    """
    half_life = min(float(half_life_images), max(seen, 1) * RAMP)
    return float(0.5 ** (batch / max(half_life, 1e-8)))


def decay_at(schedule: Schedule, step: int, batch: int) -> float:
    """Decay of a step: the recipe's constant `ema_decay`, or that of its half-life."""
    if schedule.ema_decay is not None:
        return schedule.ema_decay
    return decay_for(batch, schedule.ema_images, step * batch)
