"""Trains SAMM for a fixed generator and encoder, of which at most the noise head is trained together with SAMM."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Adam

from oodinv.errors import RecipeError, WeightsError
from oodinv.fitting.photo_loss import Perception
from oodinv.fitting.refinement import Refiner
from oodinv.imaging.pixels import levels_of
from oodinv.metrics.pixel import psnr
from oodinv.models.encoders.base import Encoder, Encoding
from oodinv.models.generators.base import photo_noise
from oodinv.models.ops import composite, final_mask
from oodinv.models.perceptors.dlib_face import DlibFace
from oodinv.models.preview import PreviewHead
from oodinv.models.samm import Predicted, Samm
from oodinv.models.synthesis import synthesize, synthesize_aligned
from oodinv.recipe.card import ModelCard, SammCard
from oodinv.training import ema, losses
from oodinv.training.adversarial import image_critic, weigh
from oodinv.training.checkpoint import Stateful
from oodinv.training.device import Compute
from oodinv.training.export import relative_weights, write_card
from oodinv.training.fidelity import Fidelity
from oodinv.training.loop import Evaluation
from oodinv.training.networks import LossNetworks, networks_of
from oodinv.training.occluders import OccludedBatch, occlude_batch
from oodinv.training.pictures import flow_pictures, mask_grey
from oodinv.training.previews import load_heads
from oodinv.training.randomness import numpy_generator
from oodinv.training.setup import take_over
from oodinv.training.tasks.base import Definition
from oodinv.training.tasks.samm_losses import Aligned, SammLosses
from oodinv.training.tasks.samm_recipe import SammRecipe
from oodinv.weights import native
from oodinv.weights.build import Model, load_dlib_face, load_named


def active_sizes(start_steps: dict[int, int], step: int) -> list[int]:
    """Sizes that are trained at a step, coarse to fine; the coarsest always is."""
    coarsest = min(start_steps)
    return [size for size in sorted(start_steps) if size == coarsest or step >= start_steps[size]]


class SammTask:
    """Trains SAMM to reconstruct photos by its composites; sizes start one after another."""

    def __init__(
        self,
        recipe: SammRecipe,
        model: Model,
        networks: LossNetworks,
        compute: Compute,
        start: Model | None = None,
        head: PreviewHead | None = None,
        recognition: DlibFace | None = None,
    ) -> None:
        """`model`: with the fixed encoder and generator; `start`: a model with the initial SAMM.

        head: preview head to train through. recognition: for refined codes.

        Raises:
            RecipeError: the recipe's sizes are not those of the model.
            WeightsError: the model to start from has no SAMM, or one of other sizes than the recipe; or the encoder has
                no noise head to train.
        """
        known = model.generator.taps.keys() & model.encoder.tap_channels.keys()
        size = model.card.size if head is None else 2 * head.key
        if head is not None:
            known = {key for key in known if key <= head.key}
        if not known.issuperset(recipe.sizes) or recipe.data.size != size:
            raise RecipeError(
                f"recipe {recipe.name}: sizes {recipe.sizes} at {recipe.data.size} px do not fit {model.path}, which "
                f"has {sorted(known)} at {size} px; correct sizes and data.size"
            )
        torch.manual_seed(recipe.schedule.seed)
        self.recipe, self.model, self.compute = recipe, model, compute
        self.encoder, self.generator = model.encoder, compute.place(model.generator)
        compute.place(model.encoder)
        self.head = None if head is None else compute.place(head)
        self.refiner: Refiner | None = None
        if recipe.refine and networks.lpips is not None and recognition is not None:
            lpips, scale = compute.place(networks.lpips), recipe.data.crop.scale
            perception = Perception(lpips, compute.place(recognition), scale)
            self.refiner = Refiner(self.generator, recipe.refine_steps, perception, self.head, previews_only=True)
        samm = Samm(
            {s: model.generator.taps[s].channels for s in recipe.sizes},
            {s: model.encoder.tap_channels[s] for s in recipe.sizes},
            cycles=recipe.cycles,
            flow_range=recipe.flow_range,
            width=recipe.channels,
        )
        self.samm = compute.place(samm)
        if start is not None:
            take_over(self.samm, start.samm, start.path)
        self.moving_samm = ema.MovingAverage(self.samm)
        self.average_samm = self.moving_samm.module
        self.networks = networks.on(compute)
        fidelity = None
        if recognition is not None and self.networks.lpips is not None:
            fidelity = Fidelity(self.networks.lpips, compute.place(recognition), recipe.data.crop.scale)
        self.losses = SammLosses(recipe, self.networks, compute.team.mean, fidelity)
        self.notes = networks.missing
        self.noise_head = None if recipe.train_noise is None else model.encoder.noise_part()
        if recipe.train_noise is not None and self.noise_head is None:
            raise WeightsError(f"{model.path}: its encoder predicts no noise; leave out train_noise")
        rate = recipe.schedule.learning_rate
        groups = [{"params": list(self.samm.parameters()), "factor": 1.0}]
        if recipe.train_noise is not None and self.noise_head is not None:
            self.encoder.requires_grad_(False)
            self.noise_head.requires_grad_(True)
            groups.append({"params": list(self.noise_head.parameters()), "factor": recipe.train_noise.rate})
        self.moving_encoder = None if self.noise_head is None else ema.MovingAverage(self.encoder)
        self.average_encoder = self.encoder if self.moving_encoder is None else self.moving_encoder.module
        self.optimizer = Adam(groups, lr=rate, betas=(0.0, 0.99))
        self.critic = None
        if recipe.adversarial is not None:
            self.critic = image_critic(recipe.adversarial, recipe.data.size, compute)

    def parts(self) -> dict[str, Stateful]:
        """Modules, average and optimisers by name."""
        own: dict[str, Stateful] = {
            "samm": self.samm,
            "average_samm": self.average_samm,
            "optimizer": self.optimizer,
        }
        if self.noise_head is not None:
            own |= {"noise_head": self.noise_head, "average_encoder": self.average_encoder}
        return own if self.critic is None else own | self.critic.parts()

    def encode(self, images: Tensor, *, refined: bool = False, average: bool = False) -> Encoding:
        """Encodes images (B, 3, S, S), with a gradient if the noise head is trained, or by the averaged encoder."""
        encoder = self.average_encoder if average else self.encoder
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.noise_head is not None):
            encoding = encoder.encode(images, self.generator)
        if not refined or self.refiner is None:
            return encoding
        found = self.refiner.refine(images, encoding)
        return replace(encoding, w_plus=found.w_plus, noise=found.noise)

    def align(self, samm: Samm, images: Tensor, encoding: Encoding, sizes: list[int]) -> Aligned:
        """Aligns and composites images (B, 3, S, S) with SAMM acting at `sizes`."""
        source = Predicted(samm, encoding.features, frozenset(sizes))
        noise = photo_noise(self.recipe.noise, encoding.noise)
        generated, alignments = synthesize_aligned(self.generator, encoding.w_plus, source, noise, head=self.head)
        mask = final_mask({size: a.mask for size, a in alignments.items()}, self.recipe.data.size)
        return Aligned(generated, alignments, mask, composite(images, generated, mask), encoding.noise)

    def adversarial(self, blended: Tensor, step: int) -> dict[str, tuple[float, Tensor]]:
        """Weight and value of the adversarial term, from its start on."""
        settings = self.recipe.adversarial
        if self.critic is None or settings is None or step < settings.start:
            return {}
        return {"adversarial": (settings.weight, self.critic.judge(blended))}

    def backward(
        self, piece: OccludedBatch, classes: Tensor, step: int, share: float
    ) -> tuple[dict[str, float], Tensor]:
        """Accumulates the gradient of a piece of the batch; returns its losses and composites.

        classes (B, 0 or 1, S, S): labels of its pixels.
        """
        recipe, images = self.recipe, piece.images
        with self.compute.autocast():
            rng = numpy_generator(recipe.schedule.seed, step, "refine")
            encoding = self.encode(images, refined=rng.random() < recipe.refine)
            if rng.random() >= recipe.encoder_noise:
                encoding = replace(encoding, noise={})
            aligned = self.align(self.samm, images, encoding, active_sizes(recipe.start_steps, step))
            terms = self.losses.fidelity(aligned, images) | self.losses.noise_terms(aligned, images)
            terms |= self.adversarial(aligned.blended, step)
            if recipe.uncovered > 0:
                terms["uncovered"] = (recipe.uncovered, losses.uncovered(aligned.mask, piece.where))
            terms |= self.losses.labelled(aligned.mask, piece.where, classes)
            binary, area = self.losses.mask_losses(aligned, piece.where)
            loss = sum((weight * value for weight, value in terms.values()), torch.zeros((), device=images.device))
            loss = loss + recipe.mask * (recipe.binary * binary + area)
        (loss * share).backward()
        report = {name: value.item() for name, (_, value) in terms.items()}
        report |= {"binary": binary.item(), "area": area.item(), "mask": aligned.mask.mean().item()}
        return report, aligned.blended.detach()

    def step(self, images: Tensor, step: int, learning_rate: float) -> dict[str, float]:
        """Updates SAMM, then the discriminator if there is one."""
        schedule, team = self.recipe.schedule, self.compute.team
        rng = numpy_generator(schedule.seed, step, f"occluders {team.rank}")
        images, labels = images[:, :3], levels_of(images[:, 3:]).round()
        occluded = occlude_batch(images, self.recipe.occluders, rng)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)
        reports, pairs = [], []
        parts = (occluded.images, occluded.where, labels)
        for faces, where, classes in zip(*(part.chunk(schedule.accumulate) for part in parts), strict=True):
            piece = OccludedBatch(self.compute.move(faces), where.to(self.compute.device))
            share = len(faces) / len(images)
            report, blended = self.backward(piece, classes.to(self.compute.device), step, share)
            reports.append((share, report))
            pairs.append((piece.images, blended))
        team.average_gradients(self.samm, *([] if self.noise_head is None else [self.noise_head]))
        if self.recipe.train_noise is not None and self.noise_head is not None:
            nn.utils.clip_grad_norm_(self.noise_head.parameters(), self.recipe.train_noise.clip)
        self.optimizer.step()
        found = weigh(reports)
        if self.critic is not None and self.adversarial_began(step):
            found |= self.critic.step(pairs, step)
        decay = ema.decay_at(schedule, step, len(images) * team.size)
        self.moving_samm.update(self.samm, decay)
        if self.moving_encoder is not None:
            self.moving_encoder.update(self.encoder, decay)
        return found

    def adversarial_began(self, step: int) -> bool:
        """True if the adversarial loss is used at a step."""
        return self.recipe.adversarial is not None and step >= self.recipe.adversarial.start

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Tensor]) -> Evaluation:
        """LPIPS of composite and generated image, mask area, in-domain PSNR (dB) beside that of plain synthesis."""
        found: dict[str, list[Tensor]] = {}
        pictures: list[Tensor] = []
        for batch in batches:
            images = self.compute.move(batch[:, :3])
            encoding = self.encode(images, average=True)
            aligned = self.align(self.average_samm, images, encoding, self.recipe.sizes)
            noise = photo_noise(self.recipe.noise, encoding.noise)
            plain = synthesize(self.generator, encoding.w_plus, noise, head=self.head)
            for name, values in self.scores(images, aligned, plain).items():
                found.setdefault(name, []).append(values)
            if not pictures:
                pictures = self.pictures(images, aligned)
        return Evaluation({name: torch.cat(v).mean().item() for name, v in found.items()}, pictures)

    def scores(self, images: Tensor, aligned: Aligned, plain: Tensor) -> dict[str, Tensor]:
        """Scores of each image, (B,)."""
        found = {
            "mask_area": aligned.mask.mean(dim=(1, 2, 3)),
            "in_domain_psnr": psnr(aligned.generated, images, 1 - aligned.mask),
            "in_domain_psnr_plain": psnr(plain, images, 1 - aligned.mask),
        }
        if self.networks.lpips is None:
            return found
        return {
            "lpips_composite": losses.lpips_each(self.networks.lpips, aligned.blended, images),
            "lpips_generated": losses.lpips_each(self.networks.lpips, aligned.generated, images),
            **found,
        }

    def pictures(self, images: Tensor, aligned: Aligned) -> list[Tensor]:
        """Input, generated, composite, mask and finest flow, each (B, 3, S, S) in [−1, 1]."""
        flow = aligned.alignments[max(aligned.alignments)].flow
        colours = flow_pictures(flow, self.recipe.flow_range, images.shape[-1])
        return [images, aligned.generated, aligned.blended, mask_grey(aligned.mask), colours]

    def export(self, folder: Path) -> Path:
        """Writes SAMM, the encoder if a part of it was trained, and a card that joins them to the generator."""
        encoder = None if self.noise_head is None else self.average_encoder
        return write_samm(folder, self.recipe, self.model.card, self.model.path, self.average_samm, encoder)


def write_samm(
    folder: Path, recipe: SammRecipe, base: ModelCard, base_path: Path, samm: Samm, encoder: Encoder | None = None
) -> Path:
    """Writes SAMM and a card that joins it to the model it was trained on; returns the card's path.

    encoder: written beside it, in float16; None if it is that of the model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    samm_file = f"{recipe.name}-samm.safetensors"
    native.save(folder / samm_file, samm)
    encoder_files = {"weights": relative_weights(base_path, base.encoder.weights, folder)}
    if base.encoder.average is not None:
        encoder_files["average"] = relative_weights(base_path, base.encoder.average, folder)
    if encoder is not None:
        encoder_files = {"weights": f"{recipe.name}-encoder.safetensors"}
        native.save(folder / encoder_files["weights"], encoder, torch.float16)
    card = ModelCard(
        name=recipe.name,
        size=base.size,
        crop=base.crop,
        generator=base.generator.model_copy(
            update={"weights": relative_weights(base_path, base.generator.weights, folder)}
        ),
        encoder=base.encoder.model_copy(update=encoder_files),
        samm=SammCard(
            weights=samm_file,
            sizes=recipe.sizes,
            cycles=recipe.cycles,
            flow_range=recipe.flow_range,
            channels=recipe.channels,
        ),
        licence=base.licence,
        description=base.description,
    )
    return write_card(folder / f"{recipe.name}.yaml", card)


def build(recipe: SammRecipe, init: str | None, compute: Compute) -> SammTask:
    """Builds the task; `init` is a model whose SAMM to start from.

    Raises:
        MissingWeights: the network of a loss is missing, and the recipe doesn't allow that.
    """
    networks = networks_of(recipe, recipe.perceptual)
    head, recognition = None, None
    if recipe.heads is not None:
        heads = load_heads(recipe.heads, f"recipe {recipe.name}")
        head = heads[max(heads)]
    if recipe.refine or recipe.train_noise is not None:
        recognition = load_dlib_face()
    start = None if init is None else load_named(init)
    return SammTask(recipe, load_named(recipe.model), networks, compute, start, head, recognition)


TASK = Definition(SammRecipe, build)
