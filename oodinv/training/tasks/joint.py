"""Trains an encoder and a generator together as an autoencoder, for budgets too small for a GAN."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor
from torch.optim import Adam

from oodinv.metrics.pixel import psnr
from oodinv.models.encoders.base import Encoder
from oodinv.models.encoders.pyramid import PyramidEncoder
from oodinv.models.generators import construct
from oodinv.models.generators.base import Generator
from oodinv.models.perceptors.lpips import Lpips
from oodinv.models.synthesis import synthesize
from oodinv.recipe.card import ModelCard
from oodinv.recipe.train import (
    Adversarial,
    PhotoRecipe,
    check_adversarial,
    check_one_piece,
    check_sizes,
    sizes_from_four,
)
from oodinv.training import ema, losses
from oodinv.training.adversarial import image_critic
from oodinv.training.checkpoint import Stateful
from oodinv.training.device import Compute, synchronise_norms
from oodinv.training.export import encoder_card, generator_card, write_card
from oodinv.training.loop import Evaluation
from oodinv.training.setup import take_over
from oodinv.training.tasks.base import Definition
from oodinv.weights import native
from oodinv.weights.build import Model, load_lpips, load_named


class JointRecipe(PhotoRecipe):
    """Encoder and generator trained together as an autoencoder: L1 + LPIPS + a light adversarial term."""

    kind: Literal["joint"]
    licence: str
    description: str = ""
    w_dim: PositiveInt = 256
    generator_channels: dict[int, PositiveInt]
    encoder_channels: dict[int, PositiveInt]
    encoder_hidden: PositiveInt = 512
    encoder_learning_rate_share: Annotated[float, Field(gt=0)] = 0.2
    l1: Annotated[float, Field(ge=0)] = 1.0
    lpips: Annotated[float, Field(ge=0)] = 1.0
    adversarial: Adversarial | None = None

    @model_validator(mode="after")
    def _channel_tables(self) -> Self:
        sizes = sizes_from_four(self.data.size)
        check_one_piece(self.schedule)
        check_sizes("generator_channels", self.generator_channels, sizes)
        check_sizes("encoder_channels", self.encoder_channels, sizes)
        check_adversarial(self.adversarial, sizes)
        if self.data.size < 16:
            raise ValueError("data.size must be at least 16: the encoder's head looks at maps of 16, 8 and 4 px")
        return self


GENERATOR = "stylegan2"
"""Family of the trained generators."""


class JointTask:
    """Autoencoder training: L1 + LPIPS, and from `adversarial.start` on a light adversarial term."""

    def __init__(self, recipe: JointRecipe, lpips: Lpips, compute: Compute, start: Model | None = None) -> None:
        """`start`: a model with the initial weights; by default random ones.

        Raises:
            WeightsError: the model to start from has other sizes than the recipe.
        """
        torch.manual_seed(recipe.schedule.seed)
        self.recipe, self.compute = recipe, compute
        size = recipe.data.size
        generator = construct(
            GENERATOR,
            size=size,
            channels=recipe.generator_channels,
            w_dim=recipe.w_dim,
            z_dim=recipe.w_dim,
            mapping_layers=0,
        )
        self.generator = compute.place(generator)
        encoder = PyramidEncoder(
            size, recipe.encoder_channels, num_ws=generator.num_ws, w_dim=recipe.w_dim, hidden=recipe.encoder_hidden
        )
        self.encoder = synchronise_norms(compute.place(encoder), compute)
        if start is not None:
            take_over(self.generator, start.generator, start.path)
            take_over(self.encoder, start.encoder, start.path)
        self.moving_encoder = ema.MovingAverage(self.encoder)
        self.average_encoder = self.moving_encoder.module
        self.moving_generator = ema.MovingAverage(self.generator)
        self.average_generator = self.moving_generator.module
        self.lpips = compute.place(lpips)
        groups = [{"params": list(self.generator.parameters())}, {"params": list(self.encoder.parameters())}]
        self.optimizer = Adam(groups, lr=recipe.schedule.learning_rate, betas=(0.9, 0.99), eps=1e-8)
        self.critic = None if recipe.adversarial is None else image_critic(recipe.adversarial, size, compute)
        self.start = 0 if recipe.adversarial is None else recipe.adversarial.start
        self.weight = 0.0 if recipe.adversarial is None else recipe.adversarial.weight
        self.notes: tuple[str, ...] = ()

    def parts(self) -> dict[str, Stateful]:
        """Modules and optimisers by name."""
        own: dict[str, Stateful] = {
            "encoder": self.encoder,
            "generator": self.generator,
            "average_encoder": self.average_encoder,
            "average_generator": self.average_generator,
            "optimizer": self.optimizer,
        }
        return own if self.critic is None else own | self.critic.parts()

    def step(self, images: Tensor, step: int, learning_rate: float) -> dict[str, float]:
        """Updates encoder and generator, then the discriminator."""
        recipe = self.recipe
        images = self.compute.move(images)
        critic = self.critic if self.critic is not None and step >= self.start else None
        with self.compute.autocast():
            generated = synthesize(self.generator, self.encoder(images).w_plus, "zero")
            l1 = (generated - images).abs().mean()
            lpips = losses.lpips_each(self.lpips, generated, images).mean()
            loss = recipe.l1 * l1 + recipe.lpips * lpips
            report = {"l1": l1.item(), "lpips": lpips.item()}
            if critic is not None:
                adversarial = critic.judge(generated)
                report["adversarial"] = adversarial.item()
                loss = loss + self.weight * adversarial
        self._set_learning_rates(learning_rate)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.compute.team.average_gradients(self.generator, self.encoder)
        self.optimizer.step()
        self.compute.team.average_buffers(self.encoder)
        if critic is not None:
            report |= critic.step([(images, generated)], step)
        decay = ema.decay_at(recipe.schedule, step, len(images) * self.compute.team.size)
        self.moving_encoder.update(self.encoder, decay)
        self.moving_generator.update(self.generator, decay)
        return report

    def _set_learning_rates(self, learning_rate: float) -> None:
        """Scales the encoder's rate down: the generator's weights have unit variance, the encoder's are far smaller."""
        generator, encoder = self.optimizer.param_groups
        generator["lr"] = learning_rate
        encoder["lr"] = learning_rate * self.recipe.encoder_learning_rate_share

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Tensor]) -> Evaluation:
        """PSNR (dB) and LPIPS of the averaged networks."""
        found: dict[str, list[Tensor]] = {"psnr": [], "lpips": []}
        pictures: list[Tensor] = []
        for batch in batches:
            images = self.compute.move(batch)
            generated = synthesize(self.average_generator, self.average_encoder(images).w_plus, "zero").clamp(-1, 1)
            found["psnr"].append(psnr(generated, images))
            found["lpips"].append(losses.lpips_each(self.lpips, generated, images))
            if not pictures:
                pictures = [images, generated]
        return Evaluation({name: torch.cat(values).mean().item() for name, values in found.items()}, pictures)

    def export(self, folder: Path) -> Path:
        """Writes encoder, generator and a card without SAMM."""
        return write_joint(folder, self.recipe, self.average_encoder, self.average_generator)


def write_joint(folder: Path, recipe: JointRecipe, encoder: Encoder, generator: Generator) -> Path:
    """Writes an encoder, a generator and a card without SAMM into `folder`; returns the card's path."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder_file, generator_file = (
        f"{recipe.name}-encoder.safetensors",
        f"{recipe.name}-generator.safetensors",
    )
    native.save(folder / encoder_file, encoder)
    native.save(folder / generator_file, generator)
    card = ModelCard(
        name=recipe.name,
        size=recipe.data.size,
        crop=recipe.data.crop,
        generator=generator_card(generator, generator_file),
        encoder=encoder_card(encoder, encoder_file),
        licence=recipe.licence,
        description=recipe.description,
    )
    return write_card(folder / f"{recipe.name}.yaml", card)


def build(recipe: JointRecipe, init: str | None, compute: Compute) -> JointTask:
    """Builds the task; `init` is a model to start from."""
    return JointTask(recipe, load_lpips("alexnet"), compute, None if init is None else load_named(init))


TASK = Definition(JointRecipe, build)
