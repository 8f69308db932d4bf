"""An encoder trained for a fixed generator, like e4e and ReStyle.

Sources: "Designing an Encoder for StyleGAN Image Manipulation" (Tov et al., SIGGRAPH 2021) and "ReStyle: A
Residual-Based StyleGAN Encoder via Iterative Refinement" (Alaluf et al., ICCV 2021).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator
from torch import Tensor
from torch.optim import Adam

from oodinv.errors import RecipeError
from oodinv.metrics.pixel import psnr
from oodinv.models import encoders
from oodinv.models.encoders.base import Encoder, EncoderPlan
from oodinv.models.generators.base import Generator, map_latents
from oodinv.models.synthesis import synthesize
from oodinv.recipe.base import Size
from oodinv.recipe.kinds import by_kind, encoder_plans
from oodinv.recipe.train import (
    LatentAdversarial,
    ReconstructionRecipe,
    check_one_piece,
)
from oodinv.training import ema, losses
from oodinv.training.adversarial import latent_critic
from oodinv.training.checkpoint import Stateful
from oodinv.training.device import Compute, synchronise_norms
from oodinv.training.export import write_encoder
from oodinv.training.loop import Evaluation
from oodinv.training.networks import LossNetworks, networks_of
from oodinv.training.offsets import Offsets, limit_offsets, stage_at
from oodinv.training.randomness import torch_generator
from oodinv.training.setup import FixedGenerator, fixed_generator, recognition_backbone, take_over
from oodinv.training.tasks.base import Definition
from oodinv.weights.build import Model, load_named

AnyEncoderPlan = Annotated[SerializeAsAny[EncoderPlan], BeforeValidator(by_kind(encoder_plans))]
"""The encoder to train, of any family."""


class EncoderRecipe(ReconstructionRecipe):
    """An encoder for a fixed generator, like e4e.

    `generator`: a card; its encoder, if it has one, is not used. `backbone`: file of a face-recognition network
    to start from. Losses look at images of `loss_size` px. `samples`: weight of the squared error of w_plus on
    images generated from known latents.
    """

    kind: Literal["encoder"]
    licence: str
    description: str = ""
    generator: str
    encoder: AnyEncoderPlan
    backbone: str | None = None
    loss_size: Size = 256
    l2: Annotated[float, Field(ge=0)] = 1.0
    lpips: Annotated[float, Field(ge=0)] = 0.8
    offsets: Offsets | None = None
    latent_adversarial: LatentAdversarial | None = None
    samples: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _channel_table(self) -> Self:
        check_one_piece(self.schedule)
        self.encoder.check(self.data.size)
        return self


def construct(recipe: EncoderRecipe, generator: Generator) -> Encoder:
    """The recipe's encoder with random weights, starting from the generator's average latent."""
    family = next(family for family in encoders.ENCODERS if family.kind == recipe.encoder.kind)
    return family.planned(recipe.encoder, generator)


def take_backbone(encoder: Encoder, state: dict[str, Tensor], recipe: str) -> None:
    """Starts an IR-SE-50 encoder from a face-recognition network; ReStyle's first layer keeps its six inputs.

    Raises:
        RecipeError: the encoder has another backbone.
    """
    backbone = encoder.face_backbone()
    if backbone is None:
        raise RecipeError(
            f"recipe {recipe}: a {encoder.kind} encoder has another backbone than that file; leave out `backbone`"
        )
    own = backbone.state_dict()
    fitting = {k: v for k, v in state.items() if own[k].shape == v.shape}
    backbone.load_state_dict(own | fitting)


def encode_passes(encoder: Encoder, generator: Generator, images: Tensor, stage: int) -> Iterator[Tensor]:
    """Yields w_plus (B, num_ws, w_dim) after each pass over images (B, 3, S, S); gradients stay within a pass.

    stage: the last row with an offset of its own, see `limit_offsets`.
    """
    w_plus = encoder.average(len(images))
    for _ in range(encoder.passes):
        known = w_plus.detach()
        w_plus = known + limit_offsets(encoder.refine(images, known, generator).w_plus - known, stage)
        yield w_plus


class EncoderTask:
    """Trains an encoder by reconstruction in pixels, LPIPS and identity, with regularised offsets and latents."""

    def __init__(
        self,
        recipe: EncoderRecipe,
        fixed: FixedGenerator,
        networks: LossNetworks,
        compute: Compute,
        start: Model | None = None,
        backbone: dict[str, Tensor] | None = None,
    ) -> None:
        """`start`: a model with the initial encoder; `backbone`: a face-recognition network's, by our names.

        Raises:
            RecipeError: the recipe doesn't fit the generator.
            WeightsError: the encoder to start from is of other sizes or another kind.
        """
        check_fit(recipe, fixed)
        torch.manual_seed(recipe.schedule.seed)
        self.recipe, self.fixed, self.compute = recipe, fixed, compute
        self.generator = compute.place(fixed.generator)
        encoder = construct(recipe, fixed.generator)
        if backbone is not None:
            take_backbone(encoder, backbone, recipe.name)
        if start is not None:
            take_over(encoder, start.encoder, start.path)
        self.encoder = synchronise_norms(compute.place(encoder), compute)
        self.moving_encoder = ema.MovingAverage(self.encoder)
        self.average_encoder = self.moving_encoder.module
        self.networks, self.notes = networks.on(compute), networks.missing
        self.optimizer = Adam(self.encoder.parameters(), lr=recipe.schedule.learning_rate, betas=(0.9, 0.999))
        settings = recipe.latent_adversarial
        self.critic = None if settings is None else latent_critic(settings, fixed.generator.w_dim, compute)

    def parts(self) -> dict[str, Stateful]:
        """Modules and optimisers by name."""
        own: dict[str, Stateful] = {
            "encoder": self.encoder,
            "average_encoder": self.average_encoder,
            "optimizer": self.optimizer,
        }
        return own if self.critic is None else own | self.critic.parts()

    def seen(self, images: Tensor) -> Tensor:
        """Averages images down to `loss_size` for the losses. (B, 3, S, S) → (B, 3, s, s)"""
        return F.adaptive_avg_pool2d(images, min(self.recipe.loss_size, images.shape[-1]))

    def fidelity(self, w_plus: Tensor, images: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each term that compares the generated image to images (B, 3, S, S)."""
        generated, wanted = self.seen(synthesize(self.generator, w_plus, "zero")), self.seen(images)
        terms = {"l2": (self.recipe.l2, (generated - wanted).square().mean())}
        if self.networks.lpips is not None and self.recipe.lpips > 0:
            lpips = losses.lpips_each(self.networks.lpips, generated, wanted).mean()
            terms["lpips"] = (self.recipe.lpips, lpips)
        if self.networks.recognition is not None and self.recipe.identity is not None:
            terms["identity"] = (self.recipe.identity.weight, self.networks.identity(generated, wanted))
        return terms

    def regularity(self, w_plus: Tensor, stage: int) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of the terms that keep w_plus (B, num_ws, w_dim) near the generator's own latents."""
        terms: dict[str, tuple[float, Tensor]] = {}
        if self.recipe.offsets is not None:
            rows = w_plus - self.encoder.w_avg
            terms["offsets"] = (self.recipe.offsets.weight, losses.offset_norm(rows))
        if self.critic is not None and self.recipe.latent_adversarial is not None:
            judged = self.critic.judge(w_plus[:, : stage + 1].flatten(0, 1))
            terms["latent_adversarial"] = (self.recipe.latent_adversarial.weight, judged)
        return terms

    def own_samples(self, batch: int, step: int) -> Tensor:
        """Draws this process's share of latents w (B, w_dim) through the mapping network."""
        rng = torch_generator(self.recipe.schedule.seed, step, "samples")
        z = torch.randn(batch * self.compute.team.size, self.generator.z_dim, generator=rng)
        with torch.no_grad():
            return map_latents(self.generator, self.compute.team.share(z).to(self.compute.device))

    def supervise(self, w: Tensor, stage: int) -> dict[str, float]:
        """Accumulates the gradient of the squared error of w_plus on pictures generated from latents w (B, w_dim)."""
        known = w[:, None].expand(-1, self.generator.num_ws, -1)
        with torch.no_grad():
            images = synthesize(self.generator, known, "zero")
        with self.compute.autocast():
            *_, found = encode_passes(self.encoder, self.generator, images, stage)
            error = (found - known).square().mean()
        (self.recipe.samples * error).backward()
        return {"samples": error.item()}

    def step(self, images: Tensor, step: int, learning_rate: float) -> dict[str, float]:
        """Updates the encoder on the sum of all passes, then the latents' discriminator."""
        images = self.compute.move(images)
        stage = stage_at(self.recipe.offsets, step, self.generator.num_ws)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        report: dict[str, float] = {}
        w_plus = self.generator.w_avg
        passes = encode_passes(self.encoder, self.generator, images, stage)
        while True:
            with self.compute.autocast():
                if (found := next(passes, None)) is None:
                    break
                terms = self.fidelity(found, images) | self.regularity(found, stage)
                loss = sum((weight * value for weight, value in terms.values()), torch.zeros((), device=images.device))
            loss.backward()
            report, w_plus = {name: value.item() for name, (_, value) in terms.items()}, found.detach()
        w = self.own_samples(len(images), step)
        if self.recipe.samples > 0:
            report |= self.supervise(w, stage)
        self.compute.team.average_gradients(self.encoder)
        self.optimizer.step()
        self.compute.team.average_buffers(self.encoder)
        if self.critic is not None:
            report |= self.critic.step([(w, w_plus[:, : stage + 1].flatten(0, 1))], step)
        decay = ema.decay_at(self.recipe.schedule, step, len(images) * self.compute.team.size)
        self.moving_encoder.update(self.encoder, decay)
        return report | {"stage": float(stage)}

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Tensor]) -> Evaluation:
        """PSNR (dB) and, with its network, LPIPS of the averaged encoder."""
        found: dict[str, list[Tensor]] = {}
        pictures: list[Tensor] = []
        for batch in batches:
            images = self.compute.move(batch)
            w_plus = self.average_encoder.encode(images, self.generator).w_plus
            generated = synthesize(self.generator, w_plus, "zero").clamp(-1, 1)
            found.setdefault("psnr", []).append(psnr(generated, images))
            if self.networks.lpips is not None:
                pair = self.seen(generated), self.seen(images)
                found.setdefault("lpips", []).append(losses.lpips_each(self.networks.lpips, *pair))
            if not pictures:
                pictures = [images, generated]
        return Evaluation({name: torch.cat(values).mean().item() for name, values in found.items()}, pictures)

    def export(self, folder: Path) -> Path:
        """Writes the encoder and a card that joins it to the generator."""
        recipe, fixed = self.recipe, self.fixed
        return write_encoder(
            folder, recipe.name, fixed.card, fixed.path, self.average_encoder, torch.float32,
            licence=recipe.licence, description=recipe.description,
        )  # fmt: skip


def check_fit(recipe: EncoderRecipe, fixed: FixedGenerator) -> None:
    """Raises `RecipeError` for a recipe that doesn't fit its generator."""
    size = fixed.generator.size
    if recipe.data.size != size:
        raise RecipeError(
            f"recipe {recipe.name}: data.size is {recipe.data.size}, but {fixed.path} makes images of {size} px"
        )
    if not fixed.generator.has_mapping and (recipe.samples > 0 or recipe.latent_adversarial is not None):
        raise RecipeError(
            f"recipe {recipe.name}: the generator of {fixed.path} has no mapping network to draw latents with; set "
            "samples: 0 and leave out latent_adversarial"
        )


def build(recipe: EncoderRecipe, init: str | None, compute: Compute) -> EncoderTask:
    """Builds the task; `init` is a model whose encoder to start from.

    Raises:
        MissingWeights: the network of a loss is missing, and the recipe doesn't allow that.
    """
    networks = networks_of(recipe)
    start = None if init is None else load_named(init)
    backbone = None if recipe.backbone is None else recognition_backbone(recipe.backbone, recipe.name)
    return EncoderTask(recipe, fixed_generator(recipe.generator), networks, compute, start, backbone)


TASK = Definition(EncoderRecipe, build)
