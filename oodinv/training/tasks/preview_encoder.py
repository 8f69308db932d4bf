"""Trains a face ResNet encoder through previews: the generator runs up to an inner block, with a fitted head.

Real faces are compared with their previews; generated pictures have known codes, which are regressed. Both go through
one or more passes; only the last one is differentiated. Afterwards the head for noise maps may be trained by itself.
"""

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Literal, ParamSpec, Self

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn
from torch.optim import Adam

from oodinv.errors import RecipeError
from oodinv.metrics.pixel import psnr
from oodinv.models.encoders.face_resnet import INPUT_SIZE, FaceResnetEncoder, FaceResnetPlan, WhitenedCodes
from oodinv.models.generators.base import map_latents, photo_noise, whiten
from oodinv.models.ops import resize
from oodinv.models.perceptors.dlib_face import DlibFace, face_of
from oodinv.models.perceptors.lpips import Lpips
from oodinv.models.preview import PreviewHead
from oodinv.models.synthesis import synthesize
from oodinv.recipe.train import PhotoRecipe, check_one_piece
from oodinv.records import Fraction
from oodinv.training import ema, losses
from oodinv.training.checkpoint import Stateful
from oodinv.training.device import Compute
from oodinv.training.export import write_encoder
from oodinv.training.fidelity import Fidelity
from oodinv.training.loop import Evaluation
from oodinv.training.previews import load_heads
from oodinv.training.randomness import torch_generator
from oodinv.training.setup import FixedGenerator, fixed_generator, take_over
from oodinv.training.tasks.base import Definition
from oodinv.weights.build import Model, load_dlib_face, load_lpips, load_named

P = ParamSpec("P")
Weight = Annotated[float, Field(ge=0)]
SOFTER_SIZES = (96, 128, 160, 192)
"""Sides to which softened inputs are shrunk before they are enlarged again."""
IMPORTANCE = (0.1, 20.0)
"""Bounds of the weights of whitened coordinates: the variance of a coordinate over the mean variance."""


class PreviewEncoderRecipe(PhotoRecipe):
    """An encoder of kind face_resnet for a fixed generator.

    train: `codes` trains everything except the preview and noise heads; `noise` trains only the noise head, and needs
    `encoder.noise`. generator: a card. heads: file of preview heads, with those of `encoder.preview`, `sample_block`
    and `loss_block`. sample_block: block whose head draws the generated pictures; loss_block: block whose head draws
    the previews that are compared with real faces.
    lpips, inner, l2, identity: weights of the losses on real faces; inner is LPIPS of the inner face, identity the
    squared distance of dlib's descriptors. offsets, latents, noise: weights of the squares of offsets in W, of whitened
    latents and of noise maps.
    own_samples: number of pictures with known codes per batch; samples: weight of their error in whitened coordinates;
    truncation: their smallest ψ. soften: share of steps whose inputs are blurred. earlier_passes: probabilities of
    0, 1, … passes before the trained one. trunk_rate, offsets_rate: factors of the learning rate. clip: largest norm of
    the gradient.
    """

    kind: Literal["preview_encoder"]
    train: Literal["codes", "noise"] = "codes"
    licence: str
    description: str = ""
    generator: str
    encoder: FaceResnetPlan = FaceResnetPlan(kind="face_resnet")
    heads: str
    sample_block: int = 128
    loss_block: int = 128
    lpips: Weight = 1.0
    inner: Weight = 0.0
    l2: Weight = 0.5
    identity: Weight = 1.0
    offsets: Weight = 0.02
    latents: Weight = 0.003
    noise: Weight = 0.001
    own_samples: Annotated[int, Field(ge=0)] = 4
    samples: Weight = 0.1
    truncation: Fraction = 0.6
    soften: Fraction = 0.5
    earlier_passes: tuple[Weight, ...] = (0.4, 0.35, 0.25)
    trunk_rate: Weight = 0.2
    offsets_rate: Weight = 0.25
    clip: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_one_piece(self.schedule)
        if self.data.size != INPUT_SIZE:
            raise ValueError(f"data.size must be {INPUT_SIZE}, the size of the encoder's input")
        if self.train == "noise" and not self.encoder.noise:
            raise ValueError("train: noise needs an encoder with `noise: true`")
        if not 1 <= len(self.earlier_passes) <= self.encoder.passes or sum(self.earlier_passes) <= 0:
            raise ValueError(f"earlier_passes must have 1 to {self.encoder.passes} probabilities, not all of them 0")
        return self


class PreviewEncoderTask:
    """Reconstruction of real faces by previews, and regression of the codes of generated pictures."""

    def __init__(
        self,
        recipe: PreviewEncoderRecipe,
        fixed: FixedGenerator,
        heads: dict[int, PreviewHead],
        lpips: Lpips,
        recognition: DlibFace,
        compute: Compute,
        start: Model | None = None,
    ) -> None:
        """start: a model whose encoder to start from; else the trunk starts as that of the recognition network.

        Raises:
            RecipeError: a head is missing. WeightsError: the encoder to start from has other sizes.
        """
        blocks = recipe.encoder.preview, recipe.sample_block, recipe.loss_block
        if missing := sorted(set(blocks) - set(heads)):
            raise RecipeError(f"recipe {recipe.name}: {recipe.heads} has heads of {sorted(heads)}, not of {missing}")
        torch.manual_seed(recipe.schedule.seed)
        self.recipe, self.fixed, self.compute = recipe, fixed, compute
        self.notes: tuple[str, ...] = ()
        self.generator = compute.place(fixed.generator).requires_grad_(False)
        self.sample_head = compute.place(heads[recipe.sample_block]).requires_grad_(False)
        self.loss_head = compute.place(heads[recipe.loss_block]).requires_grad_(False)
        self.lpips, self.recognition = compute.place(lpips), compute.place(recognition).requires_grad_(False)
        self.fidelity = Fidelity(self.lpips, self.recognition, recipe.data.crop.scale)
        encoder = FaceResnetEncoder.planned(recipe.encoder, fixed.generator)
        encoder.trunk.load_state_dict(recognition.trunk.state_dict())
        encoder.head.load_state_dict(heads[recipe.encoder.preview].state_dict())
        if start is not None:
            take_over(encoder, start.encoder, start.path)
        encoder.head.requires_grad_(False)
        if recipe.train == "noise":
            encoder.requires_grad_(False)
        if encoder.noise_head is not None:
            encoder.noise_head.requires_grad_(recipe.train == "noise")
        self.encoder = compute.place(encoder)
        self.moving_encoder = ema.MovingAverage(self.encoder)
        self.average_encoder = self.moving_encoder.module
        self.optimizer = Adam(
            parameter_groups(self.encoder, recipe), lr=recipe.schedule.learning_rate, betas=(0.9, 0.99)
        )
        variances = self.encoder.axes.square().sum(dim=1)
        self.importance = (variances / variances.mean()).clamp(*IMPORTANCE)
        self.drawn = compute.compiled(lambda w_plus: synthesize(self.generator, w_plus, head=self.encoder.head))
        self.compared = compute.compiled(
            lambda w_plus, noise: synthesize(self.generator, w_plus, photo_noise("fixed", noise), head=self.loss_head)
        )
        self.sampled = compute.compiled(lambda w_plus: synthesize(self.generator, w_plus, head=self.sample_head))

    def parts(self) -> dict[str, Stateful]:
        """Encoder, its average and the optimiser."""
        return {"encoder": self.encoder, "average_encoder": self.average_encoder, "optimizer": self.optimizer}

    def previewed(self, draw: Callable[P, Tensor], *inputs: P.args, **more: P.kwargs) -> Tensor:
        """Draws previews (B, 3, s, s), float32. Only this runs under autocast: bfloat16 is faster here on CPUs, too."""
        with self.compute.autocast():
            return draw(*inputs, **more).float()

    def own_samples(self, step: int) -> tuple[Tensor, Tensor]:
        """Draws latents w (N, w_dim); returns their pictures (N, 3, 256, 256) in [−1, 1], and w."""
        rng = torch_generator(self.recipe.schedule.seed, step, "samples", team=self.compute.team)
        count, truncation = self.recipe.own_samples, self.recipe.truncation
        z = torch.randn(count, self.generator.z_dim, generator=rng).to(self.compute.device)
        psi = truncation + (1 - truncation) * torch.rand(count, 1, generator=rng).to(self.compute.device)
        with torch.no_grad():
            w = self.generator.w_avg.lerp(map_latents(self.generator, z), psi)
            w_plus = w[:, None].repeat(1, self.generator.num_ws, 1)
            pictures = self.previewed(self.sampled, w_plus).clamp(-1, 1)
        return resize(pictures, INPUT_SIZE), w

    def softened(self, images: Tensor, step: int) -> Tensor:
        """Blurs all images (B, 3, 256, 256), by shrinking and enlarging them, in a share `soften` of the steps."""
        rng = torch_generator(self.recipe.schedule.seed, step, "soften")
        if torch.rand((), generator=rng) >= self.recipe.soften:
            return images
        size = SOFTER_SIZES[int(torch.randint(len(SOFTER_SIZES), (), generator=rng))]
        small = F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
        return resize(small, INPUT_SIZE)

    def passes_before(self, step: int) -> int:
        """Number of passes before the trained one."""
        rng = torch_generator(self.recipe.schedule.seed, step, "passes")
        return int(torch.multinomial(torch.tensor(self.recipe.earlier_passes), 1, generator=rng))

    def shown(self, encoder: FaceResnetEncoder, codes: WhitenedCodes) -> Tensor:
        """Previews of codes as the encoder's next pass looks at them."""
        return resize(self.previewed(self.drawn, encoder.w_plus(codes)).clamp(-1, 1), INPUT_SIZE)

    def encode(self, encoder: FaceResnetEncoder, grid: Tensor, passes: int) -> WhitenedCodes:
        """Codes after some passes, without gradient."""
        codes = encoder.first_codes(len(grid))
        with torch.no_grad():
            for _ in range(passes):
                codes = encoder.correct(grid, self.shown(encoder, codes), codes)
        return codes

    def with_noise(
        self, encoder: FaceResnetEncoder, images: Tensor, maps: dict[int, Tensor]
    ) -> tuple[WhitenedCodes, dict[int, Tensor], Tensor]:
        """Inverts images (B, 3, 256, 256), of which maps are the `trunk.maps`.

        Returns the codes after all passes (detached), the predicted offsets of noise maps (empty without a noise head),
        and previews (B, 3, s, s) that are drawn with both.
        """
        codes, noise = self.encode(encoder, encoder.grid(maps), encoder.passes), dict[int, Tensor]()
        if encoder.noise_head is not None:
            with torch.no_grad():
                shown = self.shown(encoder, codes)
            noise = encoder.noise(images, maps, shown)
        return codes, noise, self.previewed(self.compared, encoder.w_plus(codes), noise)

    def step(self, images: Tensor, step: int, learning_rate: float) -> dict[str, float]:
        """Takes one optimiser step, on real faces and, for codes, generated pictures. → unweighted losses by name."""
        images = self.compute.move(images)
        terms = self.noise_terms(images, step) if self.recipe.train == "noise" else self.code_terms(images, step)
        loss = sum((weight * value for weight, value in terms.values()), torch.zeros((), device=images.device))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.compute.team.average_gradients(self.encoder)
        nn.utils.clip_grad_norm_(self.encoder.parameters(), self.recipe.clip)
        self.optimizer.step()
        decay = ema.decay_at(self.recipe.schedule, step, len(images) * self.compute.team.size)
        self.moving_encoder.update(self.encoder, decay)
        return {name: value.item() for name, (_, value) in terms.items()}

    def noise_terms(self, images: Tensor, step: int) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each loss of noise maps. images (B, 3, 256, 256)."""
        inputs = self.softened(images, step)
        with torch.no_grad():
            maps = self.encoder.trunk.maps(inputs)
        _, noise, drawn = self.with_noise(self.encoder, inputs, maps)
        squares = torch.stack([offsets.square().mean() for offsets in noise.values()])
        return self.fidelity.terms(drawn, images, self.recipe) | {"noise": (self.recipe.noise, squares.sum())}

    def code_terms(self, images: Tensor, step: int) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each loss of codes. images (B, 3, 256, 256)."""
        recipe, encoder = self.recipe, self.encoder
        count, inputs, w = len(images), self.softened(images, step), None
        if recipe.own_samples:
            pictures, w = self.own_samples(step)
            inputs = torch.cat([inputs, self.softened(pictures, step)])
        grid = encoder.grid(encoder.trunk.maps(inputs))
        known = self.encode(encoder, grid.detach(), self.passes_before(step))
        with torch.no_grad():
            shown = self.shown(encoder, known)
        codes = encoder.correct(grid, shown, known)
        drawn = self.previewed(self.compared, encoder.w_plus(codes)[:count], {})
        terms = self.fidelity.terms(drawn, images, recipe) | self.regularity(codes, count)
        if w is not None:
            target = whiten(w - encoder.w_avg, encoder.axes)
            error = ((codes.base[count:] - target).square() * self.importance).mean()
            terms["samples"] = (recipe.samples, error)
        return terms

    def regularity(self, codes: WhitenedCodes, real: int) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of each penalty of codes, of which the first `real` belong to real faces.

        offsets: mean squared offset, of real faces plus that of own samples. latents: mean square of real faces' codes.
        """
        offsets = (codes.offsets @ self.encoder.axes).square().sum(dim=2).mean(dim=1)
        offsets_penalty = offsets[:real].mean() + (offsets[real:].mean() if len(offsets) > real else 0)
        return {
            "offsets": (self.recipe.offsets / self.generator.num_ws, offsets_penalty),
            "latents": (self.recipe.latents, codes.base[:real].square().mean()),
        }

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Tensor]) -> Evaluation:
        """LPIPS, PSNR (dB) and descriptor distance of previews after all passes, and the mean square of offsets."""
        found: dict[str, list[Tensor]] = {}
        pictures: list[Tensor] = []
        encoder, scale = self.average_encoder, self.recipe.data.crop.scale
        for batch in batches:
            images = self.compute.move(batch)
            codes, _, drawn = self.with_noise(encoder, images, encoder.trunk.maps(images))
            drawn = drawn.clamp(-1, 1)
            wanted = F.adaptive_avg_pool2d(images, drawn.shape[-1])
            apart = self.recognition(face_of(drawn, scale)) - self.recognition(face_of(images, scale))
            scores = {
                "lpips": losses.lpips_each(self.lpips, drawn, wanted),
                "psnr": psnr(drawn, wanted),
                "identity_distance": apart.norm(dim=1),
                "offsets": (codes.offsets @ encoder.axes).square().sum(dim=2).mean(dim=1),
            }
            for name, values in scores.items():
                found.setdefault(name, []).append(values)
            pictures = pictures or [wanted, drawn]
        return Evaluation({name: torch.cat(values).mean().item() for name, values in found.items()}, pictures)

    def export(self, folder: Path) -> Path:
        """Writes the encoder in float16, and a card that joins it to the generator."""
        recipe, fixed = self.recipe, self.fixed
        return write_encoder(
            folder, recipe.name, fixed.card, fixed.path, self.average_encoder, torch.float16,
            licence=recipe.licence, description=recipe.description,
        )  # fmt: skip


def parameter_groups(encoder: FaceResnetEncoder, recipe: PreviewEncoderRecipe) -> list[dict[str, object]]:
    """Trained parameters of the encoder, with the factor of each group's learning rate."""
    slower = {id(p): recipe.trunk_rate for p in encoder.trunk.parameters()}
    slower |= {id(p): recipe.offsets_rate for p in encoder.offsets.parameters()}
    trained = [p for p in encoder.parameters() if p.requires_grad]
    ordered = sorted(trained, key=lambda p: slower.get(id(p), 1.0))  # stable, so that checkpoints fit
    grouped = itertools.groupby(ordered, key=lambda p: slower.get(id(p), 1.0))
    return [{"params": list(group), "factor": factor} for factor, group in grouped]


def build(recipe: PreviewEncoderRecipe, init: str | None, compute: Compute) -> PreviewEncoderTask:
    """Builds the task; `init` is a model whose encoder to start from."""
    return PreviewEncoderTask(
        recipe,
        fixed_generator(recipe.generator),
        load_heads(recipe.heads, f"recipe {recipe.name}"),
        load_lpips("alexnet"),
        load_dlib_face(),
        compute,
        None if init is None else load_named(init),
    )


TASK = Definition(PreviewEncoderRecipe, build)
