"""Losses of SAMM's training: composites and generated pictures against photos, and masks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from oodinv.models.samm import Alignment
from oodinv.training import losses
from oodinv.training.fidelity import Fidelity
from oodinv.training.networks import LossNetworks
from oodinv.training.occluders import skin
from oodinv.training.tasks.samm_recipe import SammRecipe

FINAL = "final"


def free_of_face_area(where: Tensor, crop_scale: float) -> Tensor:
    """1 where `face_area` sets no limit: outside the face, on occluders, and on photos without occluders.

    where (B, 1, S, S) in [0, 1]: coverage by occluders → the same shape and range.
    """
    outside = 1 - torch.tensor(skin(where.shape[-1], crop_scale)).to(where)
    untouched = (where.amax(dim=(1, 2, 3), keepdim=True) == 0).to(where)
    return torch.maximum(torch.maximum(where, outside), untouched)


@dataclass(frozen=True)
class Aligned:
    """SAMM's results: generated (B, 3, S, S), alignments by size, M (B, 1, S, S), composite (B, 3, S, S).

    noise: offsets of the noise that it was generated with, by key; empty without.
    """

    generated: Tensor
    alignments: dict[int, Alignment]
    mask: Tensor
    blended: Tensor
    noise: Mapping[int, Tensor]


@dataclass(frozen=True, eq=False)
class SammLosses:
    """The losses of a recipe. mean: mean over the batch, or over all parts of a batch that several processes share.

    generated: distances of generated pictures; needed to train noise.
    """

    recipe: SammRecipe
    networks: LossNetworks
    mean: Callable[[Tensor], Tensor]
    generated: Fidelity | None = None

    def noise_terms(self, aligned: Aligned, images: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each term that the encoder's noise is trained with; images (B, 3, S, S)."""
        weights = self.recipe.train_noise
        if weights is None or self.generated is None or not aligned.noise:
            return {}
        terms = self.generated.terms(aligned.generated, images, weights)
        squares = torch.stack([offsets.square().mean() for offsets in aligned.noise.values()])
        return {f"generated_{name}": term for name, term in terms.items()} | {"noise": (weights.squares, squares.sum())}

    def mask_losses(self, aligned: Aligned, where: Tensor) -> tuple[Tensor, Tensor]:
        """Binary and area terms over all active masks and the final one; where: occluders' coverage (B, 1, S, S)."""
        masks: dict[int | str, Tensor] = {size: a.mask for size, a in aligned.alignments.items()}
        masks[FINAL] = aligned.mask
        limits: dict[int | str, float] = {FINAL: self.recipe.final_area}
        limits.update(self.recipe.area.items())
        mean = self.mean
        free = free_of_face_area(where, self.recipe.data.crop.scale)
        face = losses.mask_area({FINAL: aligned.mask}, {FINAL: self.recipe.face_area}, free, mean)
        return losses.mask_binary(masks), losses.mask_area(masks, limits, where, mean) + face

    def fidelity(self, aligned: Aligned, images: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each term that compares composites to images (B, 3, S, S)."""
        recipe, networks, blended = self.recipe, self.networks, aligned.blended
        terms = {"mse": (recipe.mse, (blended - images).square().mean())}
        if recipe.in_domain > 0:
            inside = 1 - aligned.mask
            squares = ((aligned.generated - images).square() * inside).sum() / (3 * inside.sum()).clamp_min(1)
            terms["in_domain"] = (recipe.in_domain, squares)
        if recipe.lpips > 0 and networks.lpips is not None:
            terms["lpips"] = (recipe.lpips, losses.lpips_each(networks.lpips, blended, images).mean())
        if recipe.perceptual is not None and networks.vgg19 is not None:
            found = networks.vgg19(blended)
            with torch.no_grad():
                wanted = networks.vgg19(images)
            terms["perceptual"] = (recipe.perceptual.weight, losses.perceptual(found, wanted))
            terms["style"] = (recipe.perceptual.style, losses.style(found, wanted))
        if recipe.identity is not None and networks.recognition is not None:
            terms["identity"] = (recipe.identity.weight, networks.identity(blended, images))
        return terms

    def labelled(self, mask: Tensor, where: Tensor, classes: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of the terms on labelled classes (B, 1, S, S), outside occluders."""
        settings = self.recipe.labels
        if settings is None:
            return {}
        free = where == 0
        kept = losses.mean_on(1 - mask, torch.isin(classes, classes.new_tensor(settings.kept)) & free)
        generated = losses.mean_on(mask, torch.isin(classes, classes.new_tensor(settings.generated)) & free)
        excess = (generated - settings.generated_area).relu()
        return {
            "kept": (settings.kept_weight, kept.mean()),
            "generated": (settings.generated_weight, excess.mean()),
        }
