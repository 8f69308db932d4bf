"""Small training recipes, faces and losses that the tests of training share."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from oodinv.imaging.pixels import to_uint8
from oodinv.models.perceptors.lpips import Lpips
from oodinv.recipe.train import Schedule
from oodinv.training import loop
from oodinv.training.data import Faces
from oodinv.training.device import Compute
from oodinv.training.loop import Logged
from oodinv.training.tasks.joint import JointRecipe
from oodinv.training.tasks.samm import SammRecipe

CPU = Compute(torch.device("cpu"), bfloat16=False)
SIZE = 16


def schedule(steps: int) -> Schedule:
    return Schedule(
        steps=steps, batch=4, learning_rate=1e-3, log_every=1, evaluate_every=4, checkpoint_every=2, ema_images=8
    )


def joint_recipe(steps: int, adversarial: bool = False) -> JointRecipe:
    return JointRecipe.model_validate(
        {
            "kind": "joint",
            "name": "test",
            "licence": "none",
            "data": {"folder": "unused", "size": SIZE, "aligned": True},
            "schedule": schedule(steps).model_dump(),
            "w_dim": 8,
            "generator_channels": {4: 8, 8: 8, 16: 8},
            "encoder_channels": {16: 4, 8: 8, 4: 8},
            "encoder_hidden": 16,
            "adversarial": {"weight": 0.1, "channels": {4: 8, 8: 8, 16: 8}, "r1_interval": 2} if adversarial else None,
        }
    )


def samm_recipe(steps: int, card: Path) -> SammRecipe:
    return SammRecipe.model_validate(
        {
            "kind": "samm",
            "name": "test",
            "model": str(card),
            "data": {"folder": "unused", "size": 32, "aligned": True},
            "schedule": schedule(steps).model_dump(),
            "sizes": [16, 32],
            "start_steps": {16: 0, 32: 2},
            "area": {16: 0.3, 32: 0.2},
        }
    )


def random_faces(size: int, count: int = 24) -> Faces:
    x = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.interpolate(x, size=(size, size), mode="bilinear") * 0.5
    pixels = to_uint8(smooth)
    return Faces(pixels, np.arange(count - 4), np.arange(count - 4, count))


def random_lpips() -> Lpips:
    torch.manual_seed(0)
    return Lpips("alexnet").eval().requires_grad_(False)


def losses_of(events: list[loop.Event]) -> list[tuple[int, dict[str, float]]]:
    return [(e.step, e.losses) for e in events if isinstance(e, Logged)]
