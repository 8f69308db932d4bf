"""Trains the face parser on aligned crops with the label maps of CelebAMask-HQ."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field, model_validator
from torch import Tensor
from torch.optim import Adam

from oodinv.faces.parts import PARTS
from oodinv.imaging.pixels import levels_of
from oodinv.models.ops import resize
from oodinv.models.perceptors.face_parser import CELEBAMASK, INPUT_SIZE, MAP_SIZE, FaceParser
from oodinv.recipe.train import PhotoRecipe, check_one_piece
from oodinv.records import Fraction
from oodinv.training import ema
from oodinv.training.checkpoint import Stateful
from oodinv.training.device import Compute
from oodinv.training.loop import Evaluation
from oodinv.training.randomness import torch_generator
from oodinv.training.tasks.base import Definition
from oodinv.weights import native
from oodinv.weights.parser import read_parser

UNKNOWN = 255
"""Label of pixels that the loss ignores."""
PALETTE = np.random.default_rng(3).integers(40, 256, (len(PARTS), 3)) / 127.5 - 1
"""Colours of the parts in the pictures of an evaluation."""
RARE = 4.0
"""Largest weight of a part in the loss, relative to that of the commonest."""

Deviation = Annotated[float, Field(ge=0)]


class FaceParserRecipe(PhotoRecipe):
    """A face parser. Crops without a label map are left out of the loss.

    rotation (degrees), zoom (natural logarithm) and shift (share of the side): standard deviations of the framing.
    light: of the logarithm of each channel's gain. grey: share of grey pictures. soften: share of blurred ones.
    """

    uses_labels: ClassVar[bool] = True

    kind: Literal["face_parser"]
    rotation: Deviation = 8.0
    zoom: Deviation = 0.1
    shift: Deviation = 0.03
    light: Deviation = 0.15
    grey: Fraction = 0.1
    soften: Fraction = 0.3

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_one_piece(self.schedule)
        if self.data.size != INPUT_SIZE or self.data.labels is None:
            raise ValueError(f"data.size must be {INPUT_SIZE}, and data.labels name the folder of label maps")
        return self


def parts_of(labels: Tensor) -> Tensor:
    """Converts classes of CelebAMask-HQ to indices in PARTS, int64; other levels become UNKNOWN."""
    table = torch.full((256,), UNKNOWN)
    table[: len(CELEBAMASK)] = torch.tensor(CELEBAMASK)
    return table.to(labels.device)[labels.long()]


class FaceParserTask:
    """Cross-entropy of label maps, weighted towards rare parts, on crops in varied framing and light."""

    def __init__(self, recipe: FaceParserRecipe, compute: Compute, start: FaceParser | None = None) -> None:
        torch.manual_seed(recipe.schedule.seed)
        self.recipe, self.compute = recipe, compute
        self.notes: tuple[str, ...] = ()
        self.parser = compute.place(FaceParser() if start is None else start).train().requires_grad_(True)
        self.moving_parser = ema.MovingAverage(self.parser)
        self.average_parser = self.moving_parser.module
        self.optimizer = Adam(self.parser.parameters(), lr=recipe.schedule.learning_rate)

    def parts(self) -> dict[str, Stateful]:
        """Parser, its average and the optimiser."""
        return {"parser": self.parser, "average_parser": self.average_parser, "optimizer": self.optimizer}

    def varied(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Varies framing and light. images (B, 3, S, S) in [−1, 1], labels (B, 1, S, S) → the same shapes."""
        recipe, count = self.recipe, len(images)
        rng = torch_generator(recipe.schedule.seed, step, "variation", team=self.compute.team)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=rng)

        angle, zoom = normal(count) * recipe.rotation * torch.pi / 180, (normal(count) * recipe.zoom).exp()
        rows = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(count, 2, 2)
        matrix = torch.cat([rows * zoom[:, None, None], normal(count, 2, 1) * 2 * recipe.shift], dim=2)
        grid = F.affine_grid(matrix.to(images), list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        labels = F.grid_sample(labels + 1, grid, mode="nearest", align_corners=False) - 1  # −1 beyond the crop
        gain = (normal(count, 1, 1, 1) * recipe.light + normal(count, 3, 1, 1) * recipe.light / 2).exp().to(images)
        images = ((images + 1) * gain - 1).clamp(-1, 1)
        grey = (torch.rand(count, generator=rng) < recipe.grey).to(images.device)
        images = torch.where(grey[:, None, None, None], images.mean(dim=1, keepdim=True), images)
        if torch.rand((), generator=rng) < recipe.soften:
            images = resize(F.avg_pool2d(images, 2 if torch.rand((), generator=rng) < 0.7 else 4), INPUT_SIZE)
        return images, labels

    def step(self, images: Tensor, step: int, learning_rate: float) -> dict[str, float]:
        """Updates the parser once. images (B, 4, 256, 256): RGB and labels."""
        images = self.compute.move(images)
        pictures, labels = self.varied(images[:, :3], levels_of(images[:, 3:]).round(), step)
        wanted = reduced(labels)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        loss = F.cross_entropy(self.parser(pictures).float(), wanted, part_weights(wanted), ignore_index=UNKNOWN)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.compute.team.average_gradients(self.parser)
        self.optimizer.step()
        self.compute.team.average_buffers(self.parser)
        decay = ema.decay_at(self.recipe.schedule, step, len(images) * self.compute.team.size)
        self.moving_parser.update(self.parser, decay)
        return {"cross_entropy": loss.item()}

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Tensor]) -> Evaluation:
        """Share of right pixels, and intersection over union of each part over all faces."""
        found = torch.zeros(len(PARTS), len(PARTS), dtype=torch.int64)
        pictures: list[Tensor] = []
        for batch in batches:
            images = self.compute.move(batch)
            parser = self.average_parser.eval()
            wanted, parts = reduced(levels_of(images[:, 3:]).round()).cpu(), parser.parse(images[:, :3]).cpu().long()
            known = wanted != UNKNOWN
            pairs = wanted[known] * len(PARTS) + parts[known]
            found += torch.bincount(pairs, minlength=len(PARTS) ** 2).view(len(PARTS), len(PARTS))
            if not pictures:
                colours = torch.tensor(PALETTE, dtype=torch.float32)
                pictures = [images[:, :3].cpu(), resize(colours[parts].permute(0, 3, 1, 2), INPUT_SIZE)]
        right = found.diag().double()
        union = found.sum(0) + found.sum(1) - found.diag()
        scores = {"accuracy": float(right.sum() / found.sum())}
        scores |= {f"iou_{name}": float(right[n] / union[n]) for n, name in enumerate(PARTS) if union[n]}
        return Evaluation(scores, pictures)

    def export(self, folder: Path) -> Path:
        """Writes the parser in float16."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.recipe.name}.safetensors"
        native.save(path, self.average_parser)
        return path


def reduced(labels: Tensor) -> Tensor:
    """Label maps (B, 1, S, S) at the parser's size, as indices in PARTS, int64 (B, 128, 128)."""
    small = F.interpolate(labels, size=(MAP_SIZE, MAP_SIZE), mode="nearest-exact")[:, 0]
    return parts_of(small.where(small >= 0, torch.full_like(small, UNKNOWN)))


def part_weights(wanted: Tensor) -> Tensor:
    """Weights of the parts, 1 / √share within a batch, at most RARE times the smallest; (len(PARTS),)."""
    counts = torch.bincount(wanted[wanted != UNKNOWN], minlength=len(PARTS)).float()
    weights = (counts.max().clamp(min=1) / counts.clamp(min=1)).sqrt()
    return weights.clamp(max=RARE)


def build(recipe: FaceParserRecipe, init: str | None, compute: Compute) -> FaceParserTask:
    """Builds the task; `init` is a file of a parser to start from."""
    return FaceParserTask(recipe, compute, None if init is None else read_parser(Path(init)))


TASK = Definition(FaceParserRecipe, build)
