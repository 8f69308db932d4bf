"""The networks that losses look through, and what is left out where one is missing."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from oodinv.errors import MissingWeights
from oodinv.models.perceptors.arcface import Recognition
from oodinv.models.perceptors.lpips import Lpips
from oodinv.models.perceptors.vgg19 import Vgg19
from oodinv.recipe.train import Identity, LpipsBackbone, Missing, Perceptual
from oodinv.training import losses
from oodinv.training.device import Compute
from oodinv.weights.build import load_lpips, locate
from oodinv.weights.families import build_recognition, build_vgg19
from oodinv.weights.reading.read import read
from oodinv.weights.translation import translate

N = TypeVar("N")


@dataclass(frozen=True)
class Judges:
    """Frozen networks; None for one that no loss asks for, or that is missing. `missing` says which, and why."""

    lpips: Lpips | None = None
    vgg19: Vgg19 | None = None
    recognition: Recognition | None = None
    missing: tuple[str, ...] = ()

    def on(self, compute: Compute) -> "Judges":
        """The same on a device."""
        return replace(
            self,
            lpips=None if self.lpips is None else compute.place(self.lpips),
            vgg19=None if self.vgg19 is None else compute.place(self.vgg19),
            recognition=None if self.recognition is None else compute.place(self.recognition),
        )

    def identity(self, a: Tensor, b: Tensor) -> Tensor:
        """Mean of 1 − cosine between the faces in a and b, (B, 3, S, S) in [−1, 1] → scalar."""
        assert self.recognition is not None
        with torch.no_grad():
            wanted = self.recognition(losses.inner_face(b))
        return losses.identity(self.recognition(losses.inner_face(a)), wanted)


def gather(
    recipe: str,
    missing: Missing,
    *,
    lpips: LpipsBackbone | None,
    lpips_weight: float = 1.0,
    perceptual: Perceptual | None = None,
    identity: Identity | None = None,
) -> Judges:
    """The networks that a recipe's losses ask for. Files are looked for here, then in the cache.

    LPIPS with weight 0 is for the scores on held-out faces alone, which can do without it.

    Raises:
        MissingWeights: one is missing, and the recipe says `missing: refuse`.
        WeightsError: a file is damaged, or another network.
    """
    left_out: list[str] = []

    def have(loss: str, load: Callable[[], N], needed: bool = True) -> N | None:
        try:
            return load()
        except MissingWeights as error:
            if needed and missing == "refuse":
                raise MissingWeights(
                    f"recipe {recipe} has a {loss} loss, whose network is missing. {error}. To train without this "
                    "loss say --allow-missing, or `missing: allow` in the recipe"
                ) from error
            left_out.append(f"trained without the {loss} loss: {error}")
            return None

    def opened(weights: str) -> Path:
        return locate(weights, Path(f"recipe {recipe}"))

    return Judges(
        lpips=None if lpips is None else have("LPIPS", lambda: load_lpips(lpips), lpips_weight > 0),
        vgg19=None
        if perceptual is None
        else have("perceptual and style", lambda: build_vgg19(translate(read(opened(perceptual.weights))))),
        recognition=None
        if identity is None
        else have("identity", lambda: build_recognition(translate(read(opened(identity.weights))))),
        missing=tuple(left_out),
    )
