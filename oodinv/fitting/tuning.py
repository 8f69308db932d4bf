"""Tunes a generator to a single photo, so that edits change the person of the photo instead of one who looks alike.

Source: "Pivotal Tuning for Latent-based Editing of Real Images" (Roich et al., TOG 2022). With the codes fixed at the
pivot, weights of the generator learn to draw the photo from them; codes nearby then draw edits of it.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from oodinv.fitting.photo_loss import PREVIEW_SIZE, WHOLE_SIZE, Perception, PhotoLoss, perception_for
from oodinv.models.generators.base import Generator, Noise
from oodinv.models.preview import PreviewHead
from oodinv.models.samm import Alignment, Reused
from oodinv.models.synthesis import synthesize_aligned
from oodinv.weights.build import Model

LARGEST = 64
"""Side in pixels of the largest block whose convolutions are tuned; larger ones learn to draw a grid on skin."""
PREVIEW_SHARE = 0.6
"""Share of the steps that draw previews."""
PREVIEW_RATE, WHOLE_RATE = 7e-4, 5e-4
"""Learning rates of the steps with previews, and with whole pictures. Higher ones leave less of an edit."""
WARMUP = 3
RECENT = 16
"""Number of faces whose tuned weights are kept in memory, 3 MB each for the default model."""
L2 = 2.0
"""Weight of L2 in `PhotoLoss`."""


@dataclass(eq=False)
class Tuner:
    """Settings of the tuning of a generator, and the networks that it needs.

    generator: stays as it is. steps: number of optimiser steps. head: preview head of the generator, which the first
    steps draw with; without one every step draws the whole picture. on_step: called with the number of finished steps
    after each. recent: weights that were tuned last, by a key for what they depend on.
    """

    verb: ClassVar[str] = "tuning"
    """Word for it in progress."""

    generator: Generator
    steps: int
    perception: Perception
    head: PreviewHead | None = None
    on_step: Callable[[int], None] | None = None
    recent: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def remember(self, key: str, weights: dict[str, Tensor]) -> None:
        """Keeps tuned weights among the `recent` ones, of which the oldest goes if there are more than RECENT."""
        self.recent[key] = weights
        if len(self.recent) > RECENT:
            del self.recent[next(iter(self.recent))]

    def tune(
        self, image: Tensor, w_plus: Tensor, alignments: Mapping[int, Alignment], noise: Noise = "fixed"
    ) -> dict[str, Tensor]:
        """Tunes a copy of the generator to one photo. → its tuned weights by name, float16, on the CPU.

        image (1, 3, H, W) in [−1, 1]; w_plus (1, num_ws, w_dim): the codes that are to draw it, with the alignments and
        the noise.
        """
        with torch.inference_mode(False), torch.enable_grad():
            names = tuned_names(self.generator)
            tuned = with_weights(self.generator, dict.fromkeys(names))
            weights = [tuned.get_parameter(name).requires_grad_() for name in names]
            still = {key: Alignment(a.flow.clone(), a.mask.clone()) for key, a in alignments.items()}
            self._descend(tuned, weights, image.clone(), w_plus.float().clone(), still, noise)
            return {name: w.detach().to("cpu", torch.float16) for name, w in zip(names, weights, strict=True)}

    def _descend(
        self,
        tuned: Generator,
        weights: list[Tensor],
        image: Tensor,
        w_plus: Tensor,
        alignments: Mapping[int, Alignment],
        noise: Noise,
    ) -> None:
        """Takes Adam steps with learning rates that fall as √(1 − t), first with previews."""
        previews = 0 if self.head is None else round(PREVIEW_SHARE * self.steps)
        stages = [
            (previews, self.head, PREVIEW_RATE, PREVIEW_SIZE),
            (self.steps - previews, None, WHOLE_RATE, WHOLE_SIZE),
        ]
        done = 0
        for steps, head, rate, size in stages:
            apart = PhotoLoss(self.perception, image, size, L2)
            optimizer = torch.optim.Adam(weights, betas=(0.9, 0.99))
            for step in range(steps):
                optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / WARMUP) * (1 - step / steps) ** 0.5
                picture, _ = synthesize_aligned(tuned, w_plus, Reused(alignments), noise, head=head)
                loss = apart(picture).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += 1
                if self.on_step is not None:
                    self.on_step(done)


def tuned_names(generator: Generator) -> list[str]:
    """Names of the parameters that are tuned."""
    keys = [key for key, tap in generator.taps.items() if tap.resolution <= LARGEST]
    chosen = {id(weight) for key in keys for weight in generator.convolutions(key)}
    return [name for name, weight in generator.named_parameters() if id(weight) in chosen]


def with_weights(generator: Generator, weights: Mapping[str, Tensor | None]) -> Generator:
    """A copy of the generator with other values of some parameters, by name; None for the generator's.

    Everything else is shared with the generator.

    Raises:
        ValueError: the values don't fit.
    """
    shared = {id(one): one for name, one in generator.named_parameters() if name not in weights}
    copied = copy.deepcopy(generator, shared | {id(one): one for one in generator.buffers()})
    for name, value in weights.items():
        if value is not None:
            own = copied.get_parameter(name)
            if own.shape != value.shape:
                raise ValueError(f"{name} has the shape {tuple(value.shape)}, expected {tuple(own.shape)}")
            own.data = value.to(own)
    return copied


def tuner_for(model: Model, steps: int | None) -> Tuner | None:
    """Builds the tuner of a model. steps: None for the card's number; 0 for no tuning.

    Raises:
        WeightsError: LPIPS or dlib's network can't be downloaded.
    """
    steps = model.card.tune if steps is None else steps
    if not steps:
        return None
    return Tuner(model.generator, steps, perception_for(model), model.preview)
