"""SAMM trained with the encoder and the generator fixed (METHOD §4)."""

from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Adam

from oodinv.errors import RecipeError
from oodinv.models.encoder import Encoding
from oodinv.models.perceptual import Lpips
from oodinv.models.samm import Alignment, Predicted, Samm, synthesize_aligned
from oodinv.models.stylegan2 import synthesize
from oodinv.ops import composite, final_mask
from oodinv.recipe import SammRecipe
from oodinv.training import ema, losses
from oodinv.training.checkpoint import Stateful
from oodinv.training.device import Compute
from oodinv.training.export import write_samm
from oodinv.training.loop import Evaluation
from oodinv.training.setup import take_over
from oodinv.weights.build import Model

FINAL = "final"


def active_sizes(start_steps: dict[int, int], step: int) -> list[int]:
    """Sizes that are switched on at a step, coarse to fine; the coarsest always is."""
    coarsest = min(start_steps)
    return [size for size in sorted(start_steps) if size == coarsest or step >= start_steps[size]]


def in_domain_psnr(generated: Tensor, images: Tensor, mask: Tensor) -> Tensor:
    """PSNR in dB with squared errors weighted by 1 − M. (B, 3, S, S), (B, 1, S, S) → (B,)."""
    weight = 1 - mask
    error = ((generated - images).square() * weight).sum(dim=(1, 2, 3))
    total = (3 * weight).sum(dim=(1, 2, 3)).clamp_min(1e-6)
    return 10 * torch.log10(4 / (error / total).clamp_min(1e-10))


class SammTask:
    """Composite against input: MSE, LPIPS and the two mask losses, sizes switched on one after another."""

    def __init__(
        self, recipe: SammRecipe, model: Model, lpips: Lpips, compute: Compute, start: Model | None = None
    ) -> None:
        """`model`: the encoder and generator that stay fixed; `start`: a model whose SAMM to go on from.

        Raises:
            WeightsError: the model to start from has no SAMM, or one of other sizes than the recipe.
        """
        known = model.generator.channels.keys() & model.encoder.tap_channels.keys()
        if not known.issuperset(recipe.sizes) or recipe.data.size != model.card.size:
            raise RecipeError(
                f"recipe {recipe.name}: sizes {recipe.sizes} at {recipe.data.size} px do not fit {model.path}, which "
                f"has {sorted(known)} at {model.card.size} px; correct sizes and data.size"
            )
        torch.manual_seed(recipe.schedule.seed)
        self.recipe, self.model, self.compute = recipe, model, compute
        self.encoder, self.generator = model.encoder, compute.place(model.generator)
        if isinstance(model.encoder, torch.nn.Module):
            compute.place(model.encoder)
        samm = Samm(
            {s: model.generator.channels[s] for s in recipe.sizes},
            {s: model.encoder.tap_channels[s] for s in recipe.sizes},
            cycles=recipe.cycles,
            flow_range=recipe.flow_range,
        )
        self.samm = compute.place(samm)
        if start is not None:
            take_over(self.samm, start.samm, start.path)
        self.average_samm = ema.frozen_copy(self.samm)
        self.lpips = compute.place(lpips)
        self.optimizer = Adam(self.samm.parameters(), lr=recipe.schedule.learning_rate, betas=(0.0, 0.99))

    def parts(self) -> dict[str, Stateful]:
        """Module, average and optimiser by name."""
        return {"samm": self.samm, "average_samm": self.average_samm, "optimizer": self.optimizer}

    def encode(self, images: Tensor) -> Encoding:
        """The fixed encoder's view of images (B, 3, S, S)."""
        with torch.no_grad():
            return self.encoder.encode(images, self.generator)

    def align(self, samm: Samm, encoding: Encoding, sizes: list[int]) -> tuple[Tensor, dict[int, Alignment], Tensor]:
        """Generated image (B, 3, S, S), alignments at `sizes`, and final mask (B, 1, S, S)."""
        source = Predicted(samm, encoding.features, frozenset(sizes))
        generated, alignments = synthesize_aligned(self.generator, encoding.w_plus, source, "zero")
        masks = {size: a.mask for size, a in alignments.items()}
        return generated, alignments, final_mask(masks, self.generator.size)

    def mask_losses(self, alignments: dict[int, Alignment], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Binary and area terms over every active size and the final mask."""
        masks: dict[int | str, Tensor] = {size: a.mask for size, a in alignments.items()}
        masks[FINAL] = mask
        limits: dict[int | str, float] = {FINAL: self.recipe.final_area}
        limits.update(self.recipe.area.items())
        return losses.mask_binary(masks), losses.mask_area(masks, limits)

    def step(self, images: Tensor, step: int, learning_rate: float) -> dict[str, float]:
        """One update of SAMM."""
        recipe = self.recipe
        images = self.compute.move(images)
        with self.compute.autocast():
            encoding = self.encode(images)
            generated, alignments, mask = self.align(self.samm, encoding, active_sizes(recipe.start_steps, step))
            blended = composite(images, generated, mask)
            mse = (blended - images).square().mean()
            lpips = losses.lpips_each(self.lpips, blended, images).mean()
            binary, area = self.mask_losses(alignments, mask)
            loss = recipe.mse * mse + recipe.lpips * lpips + recipe.mask * (recipe.binary * binary + area)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        decay = ema.decay_for(len(images), recipe.schedule.ema_images, step * len(images))
        ema.update(self.average_samm, self.samm, decay)
        return {
            "mse": mse.item(),
            "lpips": lpips.item(),
            "binary": binary.item(),
            "area": area.item(),
            "mask": mask.mean().item(),
        }

    @torch.no_grad()
    def evaluate(self, batches: list[Tensor]) -> Evaluation:
        """LPIPS of composite and generated image, mask area, in-domain PSNR (dB) beside that of plain synthesis."""
        found: dict[str, list[Tensor]] = {}
        rows: list[Tensor] = []
        for batch in batches:
            images = self.compute.move(batch)
            encoding = self.encode(images)
            generated, _, mask = self.align(self.average_samm, encoding, self.recipe.sizes)
            plain = synthesize(self.generator, encoding.w_plus, "zero")
            blended = composite(images, generated, mask)
            for name, values in {
                "lpips_composite": losses.lpips_each(self.lpips, blended, images),
                "lpips_generated": losses.lpips_each(self.lpips, generated, images),
                "mask_area": mask.mean(dim=(1, 2, 3)),
                "in_domain_psnr": in_domain_psnr(generated, images, mask),
                "in_domain_psnr_plain": in_domain_psnr(plain, images, mask),
            }.items():
                found.setdefault(name, []).append(values)
            if not rows:
                rows = [images, plain, generated, blended, mask.expand(-1, 3, -1, -1) * 2 - 1]
        return Evaluation({name: torch.cat(v).mean().item() for name, v in found.items()}, rows)

    def export(self, folder: Path) -> Path:
        """Writes SAMM and a card that joins it to the model."""
        return write_samm(folder, self.recipe, self.model.card, self.model.path, self.average_samm)
