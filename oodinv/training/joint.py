"""Encoder and generator trained together as an autoencoder, for budgets too small for a GAN of its own."""

from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Adam

from oodinv.models.discriminator import Discriminator
from oodinv.models.perceptual import Lpips
from oodinv.models.pyramid import PyramidEncoder
from oodinv.models.stylegan2 import Generator, synthesize
from oodinv.recipe import Adversarial, JointRecipe
from oodinv.training import ema, losses
from oodinv.training.checkpoint import Stateful
from oodinv.training.device import Compute
from oodinv.training.export import write_joint
from oodinv.training.loop import Evaluation
from oodinv.training.setup import take_over
from oodinv.weights.build import Model


class Critic:
    """The discriminator with its optimiser, and the two losses that it takes part in."""

    def __init__(self, settings: Adversarial, size: int, compute: Compute) -> None:
        self.settings = settings
        self.network = compute.place(Discriminator(size, settings.channels))
        self.optimizer = Adam(self.network.parameters(), lr=settings.learning_rate, betas=(0.0, 0.99), eps=1e-8)

    def parts(self) -> dict[str, Stateful]:
        """Module and optimiser by name."""
        return {"discriminator": self.network, "discriminator_optimizer": self.optimizer}

    def judge(self, generated: Tensor) -> Tensor:
        """Loss of the generator on (B, 3, S, S); the discriminator's weights take no gradient from it."""
        self.network.requires_grad_(False)
        return losses.generator_adversarial(self.network(generated))

    def step(self, real: Tensor, generated: Tensor, step: int) -> dict[str, float]:
        """One update of the discriminator on real and generated images (B, 3, S, S)."""
        self.network.requires_grad_(True)
        loss = losses.discriminator_adversarial(self.network(real), self.network(generated.detach()))
        report = {"discriminator": loss.item()}
        if step % self.settings.r1_interval == 0:
            penalty = losses.r1_penalty(self.network, real)
            report["r1"] = penalty.item()
            loss = loss + self.settings.r1 * self.settings.r1_interval * penalty
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return report


class JointTask:
    """Autoencoder training: L1 + LPIPS, and from `adversarial.start` on a light adversarial term."""

    def __init__(self, recipe: JointRecipe, lpips: Lpips, compute: Compute, start: Model | None = None) -> None:
        """`start`: a model to go on from, in place of random weights.

        Raises:
            WeightsError: the model to start from has other sizes than the recipe.
        """
        torch.manual_seed(recipe.schedule.seed)
        self.recipe, self.compute = recipe, compute
        size = recipe.data.size
        generator = Generator(size, recipe.generator_channels, w_dim=recipe.w_dim, z_dim=recipe.w_dim, mapping_layers=0)
        self.generator = compute.place(generator)
        self.encoder = compute.place(
            PyramidEncoder(
                size,
                recipe.encoder_channels,
                num_ws=generator.num_ws,
                w_dim=recipe.w_dim,
                hidden=recipe.encoder_hidden,
            )
        )
        if start is not None:
            take_over(self.generator, start.generator, start.path)
            take_over(self.encoder, start.encoder, start.path)
        self.average_encoder = ema.frozen_copy(self.encoder)
        self.average_generator = ema.frozen_copy(self.generator)
        self.lpips = compute.place(lpips)
        groups = [{"params": list(self.generator.parameters())}, {"params": list(self.encoder.parameters())}]
        self.optimizer = Adam(groups, lr=recipe.schedule.learning_rate, betas=(0.9, 0.99), eps=1e-8)
        self.critic = None if recipe.adversarial is None else Critic(recipe.adversarial, size, compute)

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
        """One update of encoder and generator, then one of the discriminator."""
        recipe = self.recipe
        images = self.compute.move(images)
        critic = self.critic if self.critic is not None and step >= self.critic.settings.start else None
        with self.compute.autocast():
            generated = synthesize(self.generator, self.encoder(images).w_plus, "zero")
            l1 = (generated - images).abs().mean()
            lpips = losses.lpips_each(self.lpips, generated, images).mean()
            loss = recipe.l1 * l1 + recipe.lpips * lpips
            report = {"l1": l1.item(), "lpips": lpips.item()}
            if critic is not None:
                adversarial = critic.judge(generated)
                report["adversarial"] = adversarial.item()
                loss = loss + critic.settings.weight * adversarial
        self._set_learning_rates(learning_rate)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if critic is not None:
            report |= critic.step(images, generated, step)
        decay = ema.decay_for(len(images), recipe.schedule.ema_images, step * len(images))
        ema.update(self.average_encoder, self.encoder, decay)
        ema.update(self.average_generator, self.generator, decay)
        return report

    def _set_learning_rates(self, learning_rate: float) -> None:
        """The generator's weights have unit variance (equalised learning rate), the encoder's are far smaller."""
        generator, encoder = self.optimizer.param_groups
        generator["lr"] = learning_rate
        encoder["lr"] = learning_rate * self.recipe.encoder_learning_rate_share

    @torch.no_grad()
    def evaluate(self, batches: list[Tensor]) -> Evaluation:
        """PSNR (dB) and LPIPS of the averaged networks."""
        psnr: list[Tensor] = []
        lpips: list[Tensor] = []
        rows: list[Tensor] = []
        for batch in batches:
            images = self.compute.move(batch)
            generated = synthesize(self.average_generator, self.average_encoder(images).w_plus, "zero").clamp(-1, 1)
            psnr.append(losses.psnr_each(generated, images))
            lpips.append(losses.lpips_each(self.lpips, generated, images))
            if not rows:
                rows = [images, generated]
        scores = {"psnr": torch.cat(psnr).mean().item(), "lpips": torch.cat(lpips).mean().item()}
        return Evaluation(scores, rows)

    def export(self, folder: Path) -> Path:
        """Writes encoder, generator and a card without SAMM."""
        return write_joint(folder, self.recipe, self.average_encoder, self.average_generator)
