"""Fits preview heads to a generator's own pictures: small pictures from inner blocks, for cheap training and passes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.optim import Adam

from oodinv.errors import RecipeError
from oodinv.metrics.pixel import psnr
from oodinv.models.generators.base import Generator, map_latents
from oodinv.models.perceptors.lpips import Lpips
from oodinv.models.preview import PreviewHead, head_for
from oodinv.recipe.train import TrainRecipe, check_one_piece
from oodinv.records import Fraction
from oodinv.training import losses
from oodinv.training.checkpoint import Stateful
from oodinv.training.device import Compute
from oodinv.training.loop import Evaluation
from oodinv.training.previews import load_heads
from oodinv.training.randomness import torch_generator
from oodinv.training.setup import fixed_generator
from oodinv.training.tasks.base import Definition
from oodinv.weights.build import load_lpips
from oodinv.weights.heads import save_heads

VALIDATION = 16
"""Pictures of an evaluation."""

Weight = Annotated[float, Field(ge=0)]


class PreviewHeadsRecipe(TrainRecipe):
    """Preview heads for blocks of a fixed generator; no photos are needed.

    keys: blocks. lpips, l2: weights of the losses between previews and pictures averaged down to their size.
    truncation: smallest ψ of the codes. offsets: largest standard deviation of the offsets of their rows.
    """

    kind: Literal["preview_heads"]
    generator: str
    keys: Annotated[list[PositiveInt], Field(min_length=1)]
    lpips: Weight = 1.0
    l2: Weight = 4.0
    truncation: Fraction = 0.5
    offsets: Weight = 0.12

    @model_validator(mode="after")
    def _no_photos(self) -> Self:
        check_one_piece(self.schedule)
        if self.data is not None:
            raise ValueError("data: preview heads are fitted to the generator's own pictures; leave it out")
        return self


def halves_and_picture(generator: Generator, w_plus: Tensor, keys: Iterable[int]) -> tuple[dict[int, Tensor], Tensor]:
    """First halves (B, C, S, S) of some blocks, and the picture (B, 3, size, size)."""
    wanted, found = set(keys), {}
    features = generator.start(w_plus, "fixed")
    for key in generator.taps:
        x = generator.advance(features, w_plus, key)
        if key in wanted:
            found[key] = x
        features = generator.finish(x, features, w_plus, key, "fixed")
    return found, generator.image(features, w_plus)


class PreviewHeadsTask:
    """Fits the heads to the generator's pictures, averaged down to the previews' size."""

    def __init__(
        self, recipe: PreviewHeadsRecipe, lpips: Lpips, compute: Compute, start: dict[int, PreviewHead] | None = None
    ) -> None:
        """start: initial heads.

        Raises:
            RecipeError: the generator has no such block, or the heads to start from are of other blocks.
        """
        torch.manual_seed(recipe.schedule.seed)
        self.recipe, self.compute = recipe, compute
        self.notes: tuple[str, ...] = ()
        self.generator = compute.place(fixed_generator(recipe.generator).generator)
        self.lpips = compute.place(lpips)
        if unknown := sorted(set(recipe.keys) - set(self.generator.taps)):
            raise RecipeError(
                f"recipe {recipe.name}: the generator has blocks {list(self.generator.taps)}, not {unknown}"
            )
        if start is not None and (missing := sorted(set(recipe.keys) - set(start))):
            raise RecipeError(f"recipe {recipe.name}: there are no heads of {missing} to start from")
        self.heads = nn.ModuleDict(
            {str(key): head_for(self.generator, key) if start is None else start[key] for key in recipe.keys}
        ).to(compute.device)
        self.heads.requires_grad_(True)
        self.optimizer = Adam(self.heads.parameters(), lr=recipe.schedule.learning_rate, betas=(0.9, 0.99))
        self.draw = compute.compiled(lambda w_plus: halves_and_picture(self.generator, w_plus, self.recipe.keys))

    def parts(self) -> dict[str, Stateful]:
        """Heads and the optimiser."""
        return {"heads": self.heads, "optimizer": self.optimizer}

    def codes(self, batch: int, step: int, stream: str) -> Tensor:
        """Draws w_plus (batch, num_ws, w_dim) with random truncation and offsets."""
        rng = torch_generator(self.recipe.schedule.seed, step, stream, team=self.compute.team)
        z = torch.randn(batch, self.generator.z_dim, generator=rng)
        psi = self.recipe.truncation + (1 - self.recipe.truncation) * torch.rand(batch, 1, generator=rng)
        offsets = torch.randn(batch, self.generator.num_ws, self.generator.w_dim, generator=rng)
        offsets = offsets * torch.rand(batch, 1, 1, generator=rng) * self.recipe.offsets
        psi, offsets = psi.to(self.compute.device), offsets.to(self.compute.device)
        w = map_latents(self.generator, z.to(self.compute.device))
        return self.generator.w_avg.lerp(w, psi)[:, None] + offsets

    def drawn(self, w_plus: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        """Previews by their blocks, and the whole picture in [−1, 1]; gradients reach the heads alone."""
        with self.compute.autocast():
            with torch.no_grad():
                halves, picture = self.draw(w_plus)
            shown = {int(key): head(halves[int(key)], w_plus).float() for key, head in self.heads.items()}
        return shown, picture.float().clamp(-1, 1)

    def step(self, images: Tensor, step: int, learning_rate: float) -> dict[str, float]:
        """Updates the heads on newly drawn pictures; images give the batch alone."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        shown, picture = self.drawn(self.codes(len(images), step, "codes"))
        report: dict[str, float] = {}
        loss = torch.zeros((), device=self.compute.device)
        for key, preview in shown.items():
            wanted = F.adaptive_avg_pool2d(picture, preview.shape[-1])
            error = (preview - wanted).square().mean()
            distance = losses.lpips_each(self.lpips, preview, wanted).mean()
            loss = loss + self.recipe.l2 * error + self.recipe.lpips * distance
            report |= {f"mse_{key}": error.item(), f"lpips_{key}": distance.item()}
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.compute.team.average_gradients(self.heads)
        self.optimizer.step()
        return report

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Tensor]) -> Evaluation:  # noqa: ARG002 - there are no photos
        """LPIPS and PSNR (dB) of previews against averaged pictures of codes that are not trained on."""
        scores: dict[str, list[Tensor]] = {}
        pictures: list[Tensor] = []
        for n in range(0, VALIDATION, self.recipe.schedule.batch):
            shown, picture = self.drawn(self.codes(self.recipe.schedule.batch, n, "validation"))
            for key, preview in shown.items():
                wanted = F.adaptive_avg_pool2d(picture, preview.shape[-1])
                scores.setdefault(f"psnr_{key}", []).append(psnr(preview.clamp(-1, 1), wanted))
                scores.setdefault(f"lpips_{key}", []).append(losses.lpips_each(self.lpips, preview, wanted))
                pictures = pictures or [wanted, preview.clamp(-1, 1)]
        return Evaluation({name: torch.cat(values).mean().item() for name, values in scores.items()}, pictures)

    def export(self, folder: Path) -> Path:
        """Writes the heads in float16."""
        path = folder / f"{self.recipe.name}.safetensors"
        save_heads(path, {int(key): head for key, head in self.heads.items() if isinstance(head, PreviewHead)})
        return path


def build(recipe: PreviewHeadsRecipe, init: str | None, compute: Compute) -> PreviewHeadsTask:
    """Builds the task; `init` is a file of heads to start from."""
    start = None if init is None else load_heads(init, f"recipe {recipe.name}")
    return PreviewHeadsTask(recipe, load_lpips("alexnet"), compute, start)


TASK = Definition(PreviewHeadsRecipe, build)
