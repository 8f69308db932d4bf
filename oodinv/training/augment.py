"""Adaptive discriminator augmentation: what the discriminator sees of images, real and generated alike.

Each transformation is applied to an image with probability p; p = 0 is the identity, bit for bit. Source:
"Training Generative Adversarial Networks with Limited Data" (Karras et al., NeurIPS 2020), appendix B; without
its filters and its corruptions. Enlarging by 2 and shrinking around the warp stand in for its wavelet filter.
"""

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.training.parallel import Team

TRANSLATION = 0.125
"""Largest shift by whole pixels, as a share of the side."""
SCALE_DEVIATION = 0.2
BRIGHTNESS_DEVIATION = 0.2
CONTRAST_DEVIATION = 0.5
SATURATION_DEVIATION = 1.0
OVERSAMPLING = 2


@dataclass(frozen=True)
class Augmentation:
    """What is done to each image of a batch.

    flip (B,) bool; turns (B,) quarter turns, 0 to 3; shift (B, 2) pixels, dx and dy; geometry (B, 2, 3) maps
    target to source positions in [−1, 1]; warped (B,) bool, where geometry is not the identity; colour (B, 3, 4),
    an affine map of RGB; coloured (B,) bool, where that is not the identity.
    """

    flip: Tensor
    turns: Tensor
    shift: Tensor
    geometry: Tensor
    warped: Tensor
    colour: Tensor
    coloured: Tensor

    def share(self, team: Team, device: torch.device) -> "Augmentation":
        """Those of a process's share of the batch, on its device."""
        return Augmentation(**{f.name: team.share(getattr(self, f.name)).to(device) for f in fields(self)})


def _linear(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Rows (a b), (c d) of 2 × 2 matrices, each (B,) → (B, 2, 2)."""
    return torch.stack([torch.stack([a, b], dim=1), torch.stack([c, d], dim=1)], dim=1)


def _rotation(angle: Tensor) -> Tensor:
    return _linear(angle.cos(), -angle.sin(), angle.sin(), angle.cos())


def draw_geometry(batch: int, p: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scaling, rotation, scaling of one axis, rotation and shift → matrices (B, 2, 3), and where there are any (B,)."""

    def chosen(probability: float) -> Tensor:
        return torch.rand(batch, generator=rng) < probability

    def normal() -> Tensor:
        return torch.randn(batch, generator=rng)

    def angle(active: Tensor) -> Tensor:
        return (torch.rand(batch, generator=rng) * 2 - 1) * math.pi * active

    zero = torch.zeros(batch)
    turn = 1 - math.sqrt(1 - p)  # so that one of the two rotations happens with probability p
    scaled, before, stretched, after, shifted = (chosen(q) for q in (p, turn, p, turn, p))
    factor = torch.exp2(normal() * SCALE_DEVIATION * scaled)
    stretch = torch.exp2(normal() * SCALE_DEVIATION * stretched)
    linear = _linear(1 / factor, zero, zero, 1 / factor) @ _rotation(angle(before))
    linear = linear @ _linear(1 / stretch, zero, zero, stretch) @ _rotation(angle(after))
    shift = torch.randn(batch, 2, generator=rng) * TRANSLATION * 2 * shifted[:, None]
    return torch.cat([linear, shift[..., None]], dim=2), scaled | before | stretched | after | shifted


def draw_colour(batch: int, p: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Brightness, contrast, inverted luma, hue and saturation → affine maps (B, 3, 4), and where there are any (B,)."""

    def chosen() -> Tensor:
        return torch.rand(batch, generator=rng) < p

    axis = torch.full((3,), 1 / math.sqrt(3))
    along = torch.outer(axis, axis)
    eye = torch.eye(3)
    across = torch.tensor([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    bright, contrasted, inverted, hued, saturated = (chosen() for _ in range(5))
    inverted = inverted & (torch.rand(batch, generator=rng) < 0.5)
    offset = torch.randn(batch, generator=rng) * BRIGHTNESS_DEVIATION * bright
    contrast = torch.exp2(torch.randn(batch, generator=rng) * CONTRAST_DEVIATION * contrasted)
    angle = (torch.rand(batch, generator=rng) * 2 - 1) * math.pi * hued
    saturation = torch.exp2(torch.randn(batch, generator=rng) * SATURATION_DEVIATION * saturated)

    def each(x: Tensor) -> Tensor:
        return x[:, None, None]

    luma = eye - 2 * along * each(inverted.float())
    hue = each(angle.cos()) * eye + each(angle.sin()) * across + each(1 - angle.cos()) * along
    vivid = along + (eye - along) * each(saturation)
    linear = vivid @ hue @ luma * each(contrast)
    constant = (linear @ each(offset).expand(-1, 3, 1)).squeeze(2)  # brightness comes first
    return torch.cat([linear, constant[..., None]], dim=2), bright | contrasted | inverted | hued | saturated


def draw(batch: int, size: int, p: float, rng: torch.Generator) -> Augmentation:
    """Draws augmentations for a batch of images of `size` px, each kind with probability p in [0, 1]."""
    flip = (torch.rand(batch, generator=rng) < p) & (torch.rand(batch, generator=rng) < 0.5)
    turns = torch.randint(4, (batch,), generator=rng) * (torch.rand(batch, generator=rng) < p)
    reach = int(TRANSLATION * size)
    shift = torch.randint(-reach, reach + 1, (batch, 2), generator=rng)
    shift = shift * (torch.rand(batch, 1, generator=rng) < p)
    geometry, warped = draw_geometry(batch, p, rng)
    colour, coloured = draw_colour(batch, p, rng)
    return Augmentation(flip, turns, shift, geometry, warped, colour, coloured)


def turn(images: Tensor, flip: Tensor, turns: Tensor) -> Tensor:
    """Mirrors, then turns by quarters: only moves pixels. (B, C, S, S), (B,), (B,) → (B, C, S, S)."""
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    for quarters in (1, 2, 3):
        here = (turns == quarters)[:, None, None, None]
        images = torch.where(here, torch.rot90(images, quarters, (2, 3)), images)
    return images


def _reflected(size: int, shift: Tensor) -> Tensor:
    """Positions 0 … size − 1 moved by −shift, mirrored at the borders. (B,) → (B, size)."""
    period = 2 * (size - 1)
    place = (torch.arange(size, device=shift.device) - shift[:, None]) % period
    return torch.where(place < size, place, period - place)


def move(images: Tensor, shift: Tensor) -> Tensor:
    """Moves by whole pixels, mirroring at the borders. (B, C, S, S), (B, 2) with dx, dy → (B, C, S, S)."""
    batch, size = images.shape[0], images.shape[-1]
    samples = torch.arange(batch, device=images.device)[:, None, None]
    rows = _reflected(size, shift[:, 1])[:, :, None]
    columns = _reflected(size, shift[:, 0])[:, None, :]
    return images.permute(0, 2, 3, 1)[samples, rows, columns].permute(0, 3, 1, 2)


def warp(images: Tensor, geometry: Tensor) -> Tensor:
    """Resamples at geometry · (x, y, 1), mirroring at the borders. (B, C, S, S), (B, 2, 3) → (B, C, S, S)."""
    batch, channels, size, _ = images.shape
    large = size * OVERSAMPLING
    enlarged = F.interpolate(images, scale_factor=float(OVERSAMPLING), mode="bicubic", align_corners=False)
    grid = F.affine_grid(geometry, [batch, channels, large, large], align_corners=False)
    moved = F.grid_sample(enlarged, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return F.avg_pool2d(moved, OVERSAMPLING)


def tint(images: Tensor, colour: Tensor) -> Tensor:
    """RGB ← A · RGB + b for colour = (A | b). (B, 3, S, S), (B, 3, 4) → (B, 3, S, S)."""
    mixed = torch.einsum("bij,bjhw->bihw", colour[:, :, :3], images)
    return mixed + colour[:, :, 3, None, None]


def apply(images: Tensor, what: Augmentation) -> Tensor:
    """Images (B, 3, S, S) as the discriminator sees them; gradients flow through. Untouched ones stay exact."""
    images = move(turn(images, what.flip, what.turns), what.shift)
    if what.warped.any():
        images = torch.where(what.warped[:, None, None, None], warp(images, what.geometry), images)
    if what.coloured.any():
        images = torch.where(what.coloured[:, None, None, None], tint(images, what.colour), images)
    return images


class Controller(nn.Module):
    """State of the adaption: probability p, and the sum and number of signs of D(real) since it last moved."""

    p: Tensor
    signs: Tensor
    count: Tensor

    def __init__(self, start: float) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(start, dtype=torch.float64))
        self.register_buffer("signs", torch.zeros((), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def observe(self, sign: float) -> None:
        """Takes note of a batch's mean sign of D(real)."""
        self.signs += sign
        self.count += 1

    @torch.no_grad()
    def adjust(self, target: float, change: float) -> None:
        """Moves p by `change`, up where the mean sign is above the target (the discriminator overfits), else down."""
        if self.count == 0:
            return
        direction = torch.sign(self.signs / self.count - target)
        self.p.copy_((self.p + direction * change).clamp(0, 1))
        self.signs.zero_()
        self.count.zero_()
