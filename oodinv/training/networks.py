"""Pretrained networks of the losses; losses whose network is missing are skipped."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from oodinv.errors import MissingWeights
from oodinv.models.perceptors.arcface import Recognition, inner_face
from oodinv.models.perceptors.lpips import Lpips
from oodinv.models.perceptors.vgg19 import Vgg19
from oodinv.recipe.train import Identity, LpipsBackbone, Missing, Perceptual, ReconstructionRecipe
from oodinv.training import losses
from oodinv.training.device import Compute
from oodinv.weights.build import load_lpips, locate
from oodinv.weights.families import build_recognition, build_vgg19
from oodinv.weights.reading.read import read
from oodinv.weights.translation import translate

N = TypeVar("N")


@dataclass(frozen=True)
class LossNetworks:
    """Frozen networks of the losses; None if no loss needs it or its file is missing.

    missing: the loss and the reason for each missing network. crop_scale: `crop.scale` of the faces.
    """

    lpips: Lpips | None = None
    vgg19: Vgg19 | None = None
    recognition: Recognition | None = None
    missing: tuple[str, ...] = ()
    crop_scale: float = 1.0

    def on(self, compute: Compute) -> "LossNetworks":
        """Copy on a device."""
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
            wanted = self.recognition(inner_face(b, self.crop_scale))
        return losses.identity(self.recognition(inner_face(a, self.crop_scale)), wanted)


def networks_of(recipe: ReconstructionRecipe, perceptual: Perceptual | None = None) -> LossNetworks:
    """Loads the networks of a recipe's losses; see `gather`."""
    return gather(
        recipe.name,
        recipe.missing,
        crop_scale=recipe.data.crop.scale,
        lpips=recipe.lpips_backbone,
        lpips_weight=recipe.lpips,
        perceptual=perceptual,
        identity=recipe.identity,
    )


def gather(
    recipe: str,
    missing: Missing,
    *,
    crop_scale: float,
    lpips: LpipsBackbone | None,
    lpips_weight: float = 1.0,
    perceptual: Perceptual | None = None,
    identity: Identity | None = None,
) -> LossNetworks:
    """Loads the networks of a recipe's losses, from the current folder or the cache.

    With lpips_weight 0, LPIPS is needed for scores on held-out faces alone, and may be missing.

    Raises:
        MissingWeights: one is missing, and the recipe has `missing: refuse`.
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
                    "loss, use --allow-missing, or `missing: allow` in the recipe"
                ) from error
            left_out.append(f"trained without the {loss} loss: {error}")
            return None

    def opened(weights: str) -> Path:
        return locate(weights, Path(f"recipe {recipe}"))

    return LossNetworks(
        crop_scale=crop_scale,
        lpips=None if lpips is None else have("LPIPS", lambda: load_lpips(lpips), lpips_weight > 0),
        vgg19=None
        if perceptual is None
        else have("perceptual and style", lambda: build_vgg19(translate(read(opened(perceptual.weights))))),
        recognition=None
        if identity is None
        else have("identity", lambda: build_recognition(translate(read(opened(identity.weights))))),
        missing=tuple(left_out),
    )
