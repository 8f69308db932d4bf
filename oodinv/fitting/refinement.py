"""Refines the latent codes and noise maps of single photos by gradient descent, with the generator fixed.

Source: the projection of "Analyzing and Improving the Image Quality of StyleGAN" (Karras et al., CVPR 2020, appendix
D), which optimises latents and noise, from an encoder's codes instead of the average latent, and with offsets of the
rows that are penalised as in "Designing an Encoder for StyleGAN Image Manipulation" (Tov et al., SIGGRAPH 2021).

The first steps leave noise alone and keep codes near W, where a generator's edits look real: they find the pivot of
"Pivotal Tuning for Latent-based Editing of Real Images" (Roich et al., TOG 2022), from which edits start. The other
steps begin anew with the encoder's codes and noise, which belong together, and optimise both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from oodinv.fitting.photo_loss import PREVIEW_SIZE, WHOLE_SIZE, Perception, PhotoLoss, perception_for
from oodinv.models.encoders.base import Encoding
from oodinv.models.generators.base import Generator, PhotoNoise, whiten, whitening
from oodinv.models.preview import PreviewHead
from oodinv.models.samm import Alignment, Predicted, Reused, Samm
from oodinv.models.synthesis import synthesize_aligned
from oodinv.weights.build import Model

BASE_RATE, OFFSETS_RATE = 0.2, 0.1
"""Learning rates of the whitened base latent and of the rows' offsets; half of them after the pivot."""
NOISE_SIZES = (32, 64)
"""Smallest and largest side in pixels of the noise maps that are optimised; larger ones draw red spots on skin."""
NOISE_RATE = 0.1
"""Learning rate of noise maps, in the units of the generator's features; half of it is used."""
PIVOT_SHARE = 0.5
"""Share of the steps that find the pivot."""
WARMUP = 3
L2, OFFSETS, LATENTS = 0.5, 2e-3, 3e-3
"""Weights of L2 in `PhotoLoss`, and of squares of offsets in W and of whitened latents beside it."""
PIVOT_OFFSETS = 0.1
"""Weight of squares of offsets in W while the pivot is found."""


@dataclass(frozen=True)
class Refined:
    """Result of a refinement.

    w_plus, pivot (B, num_ws, w_dim): codes of the picture, and codes for edits, which look right without the noise.
    noise: `PhotoNoise.offsets`. alignments: those of SAMM that the last steps ran with; empty without SAMM, or if only
    previews were drawn.
    """

    w_plus: Tensor
    pivot: Tensor
    noise: dict[int, Tensor]
    alignments: dict[int, Alignment]


@dataclass(eq=False)
class Refiner:
    """Settings of a refinement, and the networks that it needs.

    generator: fixed. steps: number of optimiser steps. head: preview head of the generator, through which the pivot is
    found; without one every step runs the whole generator. samm: aligns the features after the pivot, with what it
    predicts for the encoder's codes. previews_only: the other steps run the preview head too, without SAMM, for speed.
    on_step: called with the number of finished steps after each.
    """

    verb: ClassVar[str] = "refining"
    """Word for it in progress."""

    generator: Generator
    steps: int
    perception: Perception
    head: PreviewHead | None = None
    samm: Samm | None = None
    previews_only: bool = False
    on_step: Callable[[int], None] | None = None

    @cached_property
    def axes(self) -> Tensor:
        """Coordinates of the optimisation, from `whitening`; computed once for all batches."""
        return whitening(self.generator)

    def refine(self, image: Tensor, encoding: Encoding) -> Refined:
        """Optimises codes and noise so that the generated picture looks like the image.

        image (B, 3, H, W) in [−1, 1], which the encoding is of. The photos of a batch don't influence each other.
        """
        with torch.inference_mode(False), torch.enable_grad():
            features = {key: tap.clone() for key, tap in encoding.features.items()}
            noise = {key: maps.float().clone() for key, maps in encoding.noise.items()}
            return _Descent(self, image.clone(), Encoding(encoding.w_plus.float().clone(), features, noise)).run()


@dataclass(frozen=True)
class _Stage:
    """Some steps of a refinement.

    rate: scales the learning rates. head: the picture is its preview; None for the whole picture. keys: blocks that get
    noise. near_w: weight of the squares of offsets in W. alignments: of the features.
    """

    steps: int
    rate: float
    head: PreviewHead | None
    keys: Sequence[int]
    near_w: float
    alignments: Mapping[int, Alignment] = field(default_factory=dict)


class _Descent:
    """One batch, with its codes in whitened coordinates."""

    def __init__(self, refiner: Refiner, image: Tensor, encoding: Encoding) -> None:
        self.encoding, w_plus = encoding, encoding.w_plus
        self.refiner, self.generator, self.axes, self.done = refiner, refiner.generator, refiner.axes, 0
        self.image = image
        self.start(w_plus)
        self.maps = {
            key: w_plus.new_zeros(len(w_plus), 1, tap.resolution, tap.resolution).requires_grad_()
            for key, tap in self.generator.taps.items()
            if NOISE_SIZES[0] <= tap.resolution <= NOISE_SIZES[1]
        }

    def start(self, w_plus: Tensor) -> None:
        """Sets the codes (B, num_ws, w_dim) that the next steps start from."""
        whitened = whiten(w_plus - self.generator.w_avg, self.axes)
        self.base = whitened.mean(dim=1).requires_grad_()
        self.offsets = (whitened - whitened.mean(dim=1, keepdim=True)).requires_grad_()

    def w_plus(self) -> Tensor:
        """Codes (B, num_ws, w_dim)."""
        w_plus: Tensor = self.generator.w_avg + (self.base[:, None] + self.offsets) @ self.axes
        return w_plus

    def noise(self, keys: Sequence[int]) -> dict[int, Tensor]:
        """Noise (B, 1 or channels, S, S) by key: the encoder's, and the optimised maps, equal for all channels."""
        own, maps = ({key: noise[key] for key in keys if key in noise} for noise in (self.encoding.noise, self.maps))
        return own | {key: own[key] + added if key in own else added for key, added in maps.items()}

    def run(self) -> Refined:
        """Runs all steps: those that find the pivot, then the others."""
        refiner, keys = self.refiner, list(self.generator.taps)
        first = round(PIVOT_SHARE * refiner.steps)
        self.descend(_Stage(first, 1.0, refiner.head, [], PIVOT_OFFSETS))
        pivot, steps = self.w_plus().detach(), refiner.steps - first
        self.start(self.encoding.w_plus)
        if refiner.previews_only and refiner.head is not None:
            keys = keys[: keys.index(refiner.head.key) + 1]
            self.descend(_Stage(steps, 0.5, refiner.head, keys, OFFSETS))
            alignments: dict[int, Alignment] = {}
        else:
            alignments = self.predicted(keys)
            self.descend(_Stage(steps, 0.5, None, keys, OFFSETS, alignments))
        noise = {key: maps.detach() for key, maps in self.noise(list(self.generator.taps)).items()}
        return Refined(self.w_plus().detach(), pivot, noise, alignments)

    def predicted(self, keys: Sequence[int]) -> dict[int, Alignment]:
        """Alignments that SAMM predicts for the codes and noise so far."""
        if self.refiner.samm is None:
            return {}
        source = Predicted(self.refiner.samm, self.encoding.features)
        with torch.no_grad():
            return synthesize_aligned(self.generator, self.w_plus(), source, PhotoNoise("fixed", self.noise(keys)))[1]

    def descend(self, stage: _Stage) -> None:
        """Takes Adam steps with learning rates that fall as √(1 − t)."""
        apart = PhotoLoss(self.refiner.perception, self.image, WHOLE_SIZE if stage.head is None else PREVIEW_SIZE, L2)
        groups = [
            {"params": [self.base], "lr": BASE_RATE},
            {"params": [self.offsets], "lr": OFFSETS_RATE},
            {"params": [maps for key, maps in self.maps.items() if key in stage.keys], "lr": NOISE_RATE},
        ]
        optimizer = torch.optim.Adam(groups, betas=(0.9, 0.95))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: stage.rate * min(1, (step + 1) / WARMUP) * (1 - step / max(stage.steps, 1)) ** 0.5
        )
        for _ in range(stage.steps):
            noise = PhotoNoise("fixed", self.noise(stage.keys))
            source = Reused(stage.alignments)
            picture, _ = synthesize_aligned(self.generator, self.w_plus(), source, noise, head=stage.head)
            loss = (apart(picture) + self.penalty(stage.near_w)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            self.done += 1
            if self.refiner.on_step is not None:
                self.refiner.on_step(self.done)

    def penalty(self, near_w: float) -> Tensor:
        """Penalty of the codes → (B,). near_w: weight of the squares of offsets."""
        offsets = (self.offsets @ self.axes).square().sum(dim=2).mean(dim=1)
        return near_w * offsets + LATENTS * self.base.square().mean(dim=1)


def refiner_for(model: Model, steps: int | None) -> Refiner | None:
    """Builds the refiner of a model. steps: None for the card's number; 0 for no refinement.

    Raises:
        WeightsError: LPIPS or dlib's network can't be downloaded.
    """
    steps = model.card.refine if steps is None else steps
    if not steps:
        return None
    return Refiner(model.generator, steps, perception_for(model), model.preview, model.samm)
