"""Trains a StyleGAN2 generator from photos alone, with adaptive discriminator augmentation.

Sources: "Analyzing and Improving the Image Quality of StyleGAN" (Karras et al., CVPR 2020) and "Training
Generative Adversarial Networks with Limited Data" (Karras et al., NeurIPS 2020).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.optim import Adam

from oodinv.models.generators import construct
from oodinv.models.generators.base import Generator, map_latents
from oodinv.models.synthesis import synthesize
from oodinv.recipe.card import GeneratorOnlyCard
from oodinv.recipe.train import (
    Adversarial,
    PhotoRecipe,
    check_adversarial,
    check_one_piece,
    check_sizes,
    sizes_from_four,
)
from oodinv.records import Fraction, Strict
from oodinv.training import augment, ema, losses
from oodinv.training.adversarial import image_critic
from oodinv.training.checkpoint import Stateful
from oodinv.training.device import Compute
from oodinv.training.export import generator_card, write_card
from oodinv.training.loop import Evaluation
from oodinv.training.randomness import torch_generator
from oodinv.training.setup import FixedGenerator, fixed_generator, take_over
from oodinv.training.tasks.base import Definition
from oodinv.weights import native

W_AVERAGE_DECAY = 0.995
"""Decay of the average latent in one step."""

GRID_PSI = 0.7


class Augment(Strict):
    """Adaptive augmentation: p moves so that the mean sign of D(real) nears `target`, by 1 in `images` images."""

    target: Fraction = 0.6
    images: PositiveInt = 500_000
    interval: PositiveInt = 4
    start: Fraction = 0.0


class PathLength(Strict):
    """Path length regularisation on a share of the batch, every `interval` steps."""

    weight: Annotated[float, Field(ge=0)] = 2.0
    interval: PositiveInt = 4
    decay: Annotated[float, Field(gt=0, le=1)] = 0.01
    batch_share: Annotated[float, Field(gt=0, le=1)] = 0.5


class GeneratorRecipe(PhotoRecipe):
    """A StyleGAN2 generator with adaptive discriminator augmentation, from photos alone."""

    kind: Literal["stylegan2"]
    licence: str
    description: str = ""
    channels: dict[int, PositiveInt] | None = None
    w_dim: PositiveInt = 512
    z_dim: PositiveInt = 512
    mapping_layers: PositiveInt = 8
    adversarial: Adversarial
    augment: Augment | None = Augment()
    path_length: PathLength | None = PathLength()
    mixing: Fraction = 0.9

    @model_validator(mode="after")
    def _channel_tables(self) -> Self:
        sizes = sizes_from_four(self.data.size)
        check_one_piece(self.schedule)
        if self.channels is not None:
            check_sizes("channels", self.channels, sizes)
        check_adversarial(self.adversarial, sizes)
        return self


class PathMean(nn.Module):
    """Running mean of path lengths."""

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(()))


def mix_styles(first: Tensor, second: Tensor, num_ws: int, share: float, rng: torch.Generator) -> Tensor:
    """Style mixing: w_plus from one latent, and for a share of the batch from another one beyond a random row.

    first, second (B, w_dim) → (B, num_ws, w_dim). rng is the CPU's. Source: "A Style-Based Generator
    Architecture for Generative Adversarial Networks" (Karras et al., CVPR 2019), section 3.1.
    """
    batch = len(first)
    cut = torch.randint(1, num_ws, (batch,), generator=rng)
    cut = torch.where(torch.rand(batch, generator=rng) < share, cut, num_ws)
    kept = (torch.arange(num_ws) < cut[:, None]).to(first.device)
    return torch.where(kept[..., None], first[:, None], second[:, None])


class GeneratorTask:
    """Trains a generator against a discriminator, with lazy R1 and path length and adaptive augmentation."""

    def __init__(self, recipe: GeneratorRecipe, compute: Compute, start: FixedGenerator | None = None) -> None:
        """start: a generator to start from; None for random weights.

        Raises:
            WeightsError: the generator to start from has other sizes than the recipe.
        """
        torch.manual_seed(recipe.schedule.seed)
        self.recipe, self.compute = recipe, compute
        self.notes: tuple[str, ...] = ()
        generator = construct(
            recipe.kind,
            size=recipe.data.size,
            channels=recipe.channels,
            w_dim=recipe.w_dim,
            z_dim=recipe.z_dim,
            mapping_layers=recipe.mapping_layers,
        )
        if start is not None:
            take_over(generator, start.generator, start.path)
        self.generator = compute.place(generator)
        self.moving_generator = ema.MovingAverage(self.generator)
        self.average = self.moving_generator.module
        self.critic = image_critic(recipe.adversarial, recipe.data.size, compute)
        self.optimizer = Adam(self.generator.parameters(), lr=recipe.schedule.learning_rate, betas=(0.0, 0.99))
        self.controller = augment.Controller(0.0 if recipe.augment is None else recipe.augment.start)
        self.path_mean = PathMean().to(compute.device)

    def parts(self) -> dict[str, Stateful]:
        """Modules, optimisers and the state of augmentation and path length by name."""
        own: dict[str, Stateful] = {
            "generator": self.generator,
            "average_generator": self.average,
            "optimizer": self.optimizer,
            "augmentation": self.controller,
            "path_mean": self.path_mean,
        }
        return own | self.critic.parts()

    def latents(self, batch: int, step: int, stream: str) -> Tensor:
        """w_plus (B, num_ws, w_dim) of this process's share of `batch` random latents."""
        rng, team = torch_generator(self.recipe.schedule.seed, step, stream), self.compute.team
        z = torch.randn(2, batch, self.recipe.z_dim, generator=rng)
        first, second = (map_latents(self.generator, team.share(part).to(self.compute.device)) for part in z)
        with torch.no_grad():
            mean = torch.stack([team.mean(column) for column in first.detach().T])
            self.generator.w_avg.lerp_(mean.to(self.generator.w_avg.dtype), 1 - W_AVERAGE_DECAY)
        cuts = torch_generator(self.recipe.schedule.seed, step, f"{stream} mixing", team=team)
        return mix_styles(first, second, self.generator.num_ws, self.recipe.mixing, cuts)

    def noise(self, step: int, stream: str) -> torch.Generator:
        """The generator's noise input at a step, different in each process."""
        return torch_generator(self.recipe.schedule.seed, step, stream, self.compute.device, self.compute.team)

    def augmented(self, images: Tensor, batch: int, step: int, stream: str) -> Tensor:
        """Augments images for the discriminator."""
        if self.recipe.augment is None:
            return images
        rng = torch_generator(self.recipe.schedule.seed, step, stream)
        drawn = augment.draw(batch, images.shape[-1], self.controller.p.item(), rng)
        return augment.apply(images, drawn.share(self.compute.team, self.compute.device))

    def step(self, images: Tensor, step: int, learning_rate: float) -> dict[str, float]:
        """Updates the generator, the discriminator, the averages and p."""
        images = self.compute.move(images)
        batch = len(images) * self.compute.team.size
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        report, pairs = self.update_generator(images, batch, step)
        found = self.critic.step(pairs, step)
        report |= found | self.update_augmentation(found["sign"], batch, step)
        self.moving_generator.update(self.generator, ema.decay_at(self.recipe.schedule, step, batch))
        return report

    def update_generator(
        self, images: Tensor, batch: int, step: int
    ) -> tuple[dict[str, float], list[tuple[Tensor, Tensor]]]:
        """Updates the generator; returns its losses and pairs of real and generated images, augmented."""
        weight = self.recipe.adversarial.weight
        self.optimizer.zero_grad(set_to_none=True)
        with self.compute.autocast():
            generated = synthesize(
                self.generator, self.latents(batch, step, "generator"), self.noise(step, "generator noise")
            )
            seen = self.augmented(generated, batch, step, "generated")
            adversarial = self.critic.judge(seen)
        (weight * adversarial).backward()
        report = {"adversarial": adversarial.item()}
        if self.recipe.path_length is not None and step % self.recipe.path_length.interval == 0:
            report |= self.regularise_paths(self.recipe.path_length, batch, step)
        self.compute.team.average_gradients(self.generator)
        self.optimizer.step()
        with torch.no_grad():
            real = self.augmented(images, batch, step, "real")
        return report, [(real, seen.detach())]

    def regularise_paths(self, settings: PathLength, batch: int, step: int) -> dict[str, float]:
        """Accumulates the gradient of the path length penalty, times its interval; updates the running mean."""
        team = self.compute.team
        some = max(team.size, round(batch * settings.batch_share) // team.size * team.size)
        w_plus = self.latents(some, step, "paths")
        generated = synthesize(self.generator, w_plus, self.noise(step, "path noise"))
        rng = torch_generator(self.recipe.schedule.seed, step, "path directions")
        directions = team.share(torch.randn(some, *generated.shape[1:], generator=rng)).to(generated.device)
        lengths = losses.path_lengths(generated, w_plus, directions)
        mean = self.path_mean.value.lerp(team.mean(lengths).detach(), settings.decay)
        penalty = losses.path_length_penalty(lengths, mean)
        self.path_mean.value.copy_(mean)
        (settings.weight * settings.interval * penalty).backward()
        return {"path_penalty": penalty.item(), "path_length": mean.item()}

    def update_augmentation(self, sign: float, batch: int, step: int) -> dict[str, float]:
        """Adds the mean sign of D(real), and changes p every `interval` steps."""
        settings = self.recipe.augment
        if settings is None:
            return {}
        self.controller.observe(self.compute.team.mean(torch.tensor(sign, device=self.compute.device)).item())
        if (step + 1) % settings.interval == 0:
            self.controller.adjust(settings.target, batch * settings.interval / settings.images)
        return {"augment_p": self.controller.p.item()}

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Tensor]) -> Evaluation:
        """Mean logits of held-out faces and of generated ones, and pictures of both (the latter at ψ = 0.7)."""
        seed, first, logits = self.recipe.schedule.seed, None, []
        for batch in batches:
            first = batch if first is None else first
            logits.append(self.critic.network(self.compute.move(batch)))
        assert first is not None
        rng = torch_generator(seed, 0, "grid")
        z = torch.randn(len(first), self.recipe.z_dim, generator=rng).to(self.compute.device)
        w_plus = map_latents(self.average, z, GRID_PSI)[:, None].expand(-1, self.average.num_ws, -1)
        generated = synthesize(self.average, w_plus, "fixed")
        scores = {
            "logit_held_out": torch.cat(logits).mean().item(),
            "logit_generated": self.critic.network(generated).mean().item(),
        }
        return Evaluation(scores, [first.to(generated.device), generated.clamp(-1, 1)])

    def export(self, folder: Path) -> Path:
        """Writes the generator and a card without an encoder."""
        return write_generator(folder, self.recipe, self.average)


def write_generator(folder: Path, recipe: GeneratorRecipe, generator: Generator) -> Path:
    """Writes a generator and a card that has no encoder yet into `folder`; returns the card's path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = f"{recipe.name}-generator.safetensors"
    native.save(folder / file, generator)
    card = GeneratorOnlyCard(
        name=recipe.name,
        size=recipe.data.size,
        crop=recipe.data.crop,
        generator=generator_card(generator, file),
        licence=recipe.licence,
        description=recipe.description,
    )
    return write_card(folder / f"{recipe.name}.yaml", card)


def build(recipe: GeneratorRecipe, init: str | None, compute: Compute) -> GeneratorTask:
    """Builds the task; `init` is a card whose generator to start from."""
    return GeneratorTask(recipe, compute, None if init is None else fixed_generator(init))


TASK = Definition(GeneratorRecipe, build)
