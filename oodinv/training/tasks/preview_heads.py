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
from oodinv.models.generators.base import Generator, map_latents
from oodinv.models.preview import PreviewHead, dwt, head_for
from oodinv.recipe.train import TrainRecipe, check_one_piece
from oodinv.records import Fraction
from oodinv.training.checkpoint import Stateful
from oodinv.training.device import Compute
from oodinv.training.loop import Evaluation
from oodinv.training.previews import save_heads
from oodinv.training.randomness import torch_generator
from oodinv.training.setup import fixed_generator
from oodinv.training.tasks.base import Definition

VALIDATION = 16
"""Pictures of an evaluation."""
RIDGE = 0.1


class PreviewHeadsRecipe(TrainRecipe):
    """Preview heads for blocks of a fixed generator; no photos are needed.

    keys: blocks. places: pixels of each picture that a step looks at. truncation: smallest ψ of the codes. offsets:
    largest standard deviation of the offsets of their rows. solve_steps: steps of linear regression, whose solution
    the optimiser starts from.
    """

    kind: Literal["preview_heads"]
    generator: str
    keys: Annotated[list[PositiveInt], Field(min_length=1)]
    places: PositiveInt = 512
    truncation: Fraction = 0.5
    offsets: Annotated[float, Field(ge=0)] = 0.08
    solve_steps: PositiveInt = 50

    @model_validator(mode="after")
    def _no_photos(self) -> Self:
        check_one_piece(self.schedule)
        if self.data is not None:
            raise ValueError("data: preview heads are fitted to the generator's own pictures; leave it out")
        return self


class NormalEquations(nn.Module):
    """Sums XᵀX and XᵀY of a linear regression with a constant."""

    xx: Tensor
    xy: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("xx", torch.zeros(inputs + 1, inputs + 1))
        self.register_buffer("xy", torch.zeros(inputs + 1, outputs))

    def add(self, x: Tensor, y: Tensor) -> None:
        """Adds samples x (N, inputs), y (N, outputs)."""
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        self.xx += x.T @ x
        self.xy += x.T @ y

    def solve(self) -> tuple[Tensor, Tensor]:
        """Weight (outputs, inputs) and bias (outputs,)."""
        ridge = RIDGE * torch.eye(len(self.xx), device=self.xx.device)
        found = torch.linalg.solve(self.xx + ridge, self.xy)
        return found[:-1].T.contiguous(), found[-1]


def features_and_picture(generator: Generator, w_plus: Tensor, keys: Iterable[int]) -> tuple[dict[int, Tensor], Tensor]:
    """Outputs (B, C, S, S) of some blocks, and the picture (B, 3, size, size)."""
    wanted, found = set(keys), {}
    features = generator.start(w_plus, "fixed")
    for key in generator.taps:
        features = generator.run(features, w_plus, key, "fixed")
        if key in wanted:
            found[key] = features[0]
    return found, generator.image(features, w_plus)


class PreviewHeadsTask:
    """Fits the heads to Haar coefficients of the generator's pictures, averaged down to twice the block's side."""

    def __init__(self, recipe: PreviewHeadsRecipe, compute: Compute) -> None:
        """Raises RecipeError for a block that the generator doesn't have."""
        torch.manual_seed(recipe.schedule.seed)
        self.recipe, self.compute = recipe, compute
        self.notes: tuple[str, ...] = ()
        self.generator = compute.place(fixed_generator(recipe.generator).generator)
        unknown = sorted(set(recipe.keys) - set(self.generator.taps))
        if unknown:
            raise RecipeError(
                f"recipe {recipe.name}: the generator has blocks {list(self.generator.taps)}, not {unknown}"
            )
        heads = {str(key): head_for(self.generator, key) for key in recipe.keys}
        self.heads = nn.ModuleDict(heads).to(compute.device)
        sums = {key: NormalEquations(head.weight.shape[1], len(head.weight)) for key, head in heads.items()}
        self.sums = nn.ModuleDict(sums).to(compute.device)
        self.optimizer = Adam(self.heads.parameters(), lr=recipe.schedule.learning_rate)

    def parts(self) -> dict[str, Stateful]:
        """Heads, their regressions, and the optimiser."""
        return {"heads": self.heads, "regressions": self.sums, "optimizer": self.optimizer}

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

    def step(self, images: Tensor, step: int, learning_rate: float) -> dict[str, float]:
        """Adds to the regressions, or updates the heads, on newly drawn pictures; images give the batch alone."""
        with torch.no_grad(), self.compute.autocast():
            w_plus = self.codes(len(images), step, "codes")
            features, picture = features_and_picture(self.generator, w_plus, self.recipe.keys)
        rng = torch_generator(self.recipe.schedule.seed, step, "places", team=self.compute.team)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        report = {}
        for key, head in self.heads.items():
            assert isinstance(head, PreviewHead)
            x, target = features[int(key)].flatten(2).float(), target_of(picture, features[int(key)]).flatten(2)
            places = torch.randperm(x.shape[2], generator=rng)[: self.recipe.places].to(x.device)
            x, target = x[..., places], target[..., places]
            if step < self.recipe.solve_steps:
                self._regress(key, head, x, target)
            loss = (head.coefficients(x, w_plus[:, head.row]) - target).square().mean()
            if step >= self.recipe.solve_steps:
                loss.backward()
            report[f"mse_{key}"] = loss.item()
        if step >= self.recipe.solve_steps:
            self.compute.team.average_gradients(self.heads)
            self.optimizer.step()
        return report

    @torch.no_grad()
    def _regress(self, key: str, head: PreviewHead, x: Tensor, target: Tensor) -> None:
        sums = self.sums[key]
        assert isinstance(sums, NormalEquations)
        sums.add(x.transpose(1, 2).flatten(0, 1), target.transpose(1, 2).flatten(0, 1))
        weight, bias = sums.solve()
        head.weight.copy_(weight)
        head.bias.copy_(bias)

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Tensor]) -> Evaluation:  # noqa: ARG002 - there are no photos
        """PSNR (dB) of previews against averaged pictures of codes that are not trained on."""
        errors: dict[str, list[Tensor]] = {key: [] for key in self.heads}
        pictures: list[Tensor] = []
        for n in range(0, VALIDATION, self.recipe.schedule.batch):
            w_plus = self.codes(self.recipe.schedule.batch, n, "validation")
            features, picture = features_and_picture(self.generator, w_plus, self.recipe.keys)
            for key, head in self.heads.items():
                shown = head(features[int(key)], w_plus)
                wanted = F.adaptive_avg_pool2d(picture.clamp(-1, 1), shown.shape[-1])
                errors[key].append((shown.clamp(-1, 1) - wanted).square().mean(dim=(1, 2, 3)))
                if n == 0 and not pictures:
                    pictures = [wanted, shown.clamp(-1, 1)]
        psnr = {key: 10 * torch.log10(4 / torch.cat(values).mean()).item() for key, values in errors.items()}
        return Evaluation({f"psnr_{key}": value for key, value in psnr.items()}, pictures)

    def export(self, folder: Path) -> Path:
        """Writes the heads in float16."""
        path = folder / f"{self.recipe.name}.safetensors"
        save_heads(path, {int(key): head for key, head in self.heads.items() if isinstance(head, PreviewHead)})
        return path


def target_of(picture: Tensor, features: Tensor) -> Tensor:
    """Haar coefficients (B, 12, S, S) of a picture averaged down to twice the side S of features (B, C, S, S)."""
    return dwt(F.adaptive_avg_pool2d(picture.float().clamp(-1.2, 1.2), 2 * features.shape[-1]))


def build(recipe: PreviewHeadsRecipe, init: str | None, compute: Compute) -> PreviewHeadsTask:
    """Builds the task.

    Raises:
        RecipeError: a model to start from is given; heads always start from linear regression.
    """
    if init is not None:
        raise RecipeError(f"recipe {recipe.name}: preview heads start from linear regression; leave out --init")
    return PreviewHeadsTask(recipe, compute)


TASK = Definition(PreviewHeadsRecipe, build)
