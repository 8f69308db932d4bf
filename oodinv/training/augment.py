"""Adaptive discriminator augmentation, applied to the real and the generated images that the discriminator gets.

Each transformation is applied to an image with probability p; p = 0 is the identity, bit for bit. Source:
"Training Generative Adversarial Networks with Limited Data" (Karras et al., NeurIPS 2020), appendix B; without
its filters and its corruptions. Its wavelet filter is replaced by supersampling of factor 2 around the warp.
"""

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.training.parallel import Team

TRANSLATION = 0.125
"""Largest shift by whole pixels, as a fraction of the side."""
SCALE_DEVIATION = 0.2
BRIGHTNESS_DEVIATION = 0.2
CONTRAST_DEVIATION = 0.5
SATURATION_DEVIATION = 1.0
OVERSAMPLING = 2


@dataclass(frozen=True)
class Augmentation:
    """Transformations of each image of a batch.

    flip (B,) bool; quarters (B,) rotations by 90°, 0 to 3; shift (B, 2) pixels, dx and dy; geometry (B, 2, 3) maps
    target to source positions in [−1, 1]; warped (B,) bool: geometry is not the identity; colour (B, 3, 4), an
    affine map of RGB; coloured (B,) bool: it is not the identity.
    """

    flip: Tensor
    quarters: Tensor
    shift: Tensor
    geometry: Tensor
    warped: Tensor
    colour: Tensor
    coloured: Tensor

    def share(self, team: Team, device: torch.device) -> "Augmentation":
        """The transformations of a process's share of the batch, on its device."""
        return Augmentation(**{f.name: team.share(getattr(self, f.name)).to(device) for f in fields(self)})


def _linear(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Rows (a b), (c d) of 2 × 2 matrices, each (B,) → (B, 2, 2)."""
    return torch.stack([torch.stack([a, b], dim=1), torch.stack([c, d], dim=1)], dim=1)


def _rotation(angle: Tensor) -> Tensor:
    return _linear(angle.cos(), -angle.sin(), angle.sin(), angle.cos())


def draw_geometry(batch: int, p: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draws scaling, rotation, scaling of one axis, rotation and shift → matrices (B, 2, 3), flags of changes (B,)."""

    def chosen(probability: float) -> Tensor:
        return torch.rand(batch, generator=rng) < probability

    def normal() -> Tensor:
        return torch.randn(batch, generator=rng)

    def angle(active: Tensor) -> Tensor:
        return (torch.rand(batch, generator=rng) * 2 - 1) * math.pi * active

    zero = torch.zeros(batch)
    once = 1 - math.sqrt(1 - p)  # so that at least one of the two rotations happens with probability p
    scaled, before, stretched, after, shifted = (chosen(q) for q in (p, once, p, once, p))
    factor = torch.exp2(normal() * SCALE_DEVIATION * scaled)
    stretch = torch.exp2(normal() * SCALE_DEVIATION * stretched)
    linear = _linear(1 / factor, zero, zero, 1 / factor) @ _rotation(angle(before))
    linear = linear @ _linear(1 / stretch, zero, zero, stretch) @ _rotation(angle(after))
    shift = torch.randn(batch, 2, generator=rng) * TRANSLATION * 2 * shifted[:, None]
    return torch.cat([linear, shift[..., None]], dim=2), scaled | before | stretched | after | shifted


def draw_colour(batch: int, p: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draws brightness, contrast, inverted luma, hue and saturation → affine maps (B, 3, 4), flags of changes (B,)."""

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
    quarters = torch.randint(4, (batch,), generator=rng) * (torch.rand(batch, generator=rng) < p)
    reach = int(TRANSLATION * size)
    shift = torch.randint(-reach, reach + 1, (batch, 2), generator=rng)
    shift = shift * (torch.rand(batch, 1, generator=rng) < p)
    geometry, warped = draw_geometry(batch, p, rng)
    colour, coloured = draw_colour(batch, p, rng)
    return Augmentation(flip, quarters, shift, geometry, warped, colour, coloured)


def flip_and_rotate(images: Tensor, flip: Tensor, quarters: Tensor) -> Tensor:
    """Mirrors, then rotates by multiples of 90°, without resampling. (B, C, S, S), (B,), (B,) → (B, C, S, S)."""
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    for count in (1, 2, 3):
        chosen = (quarters == count)[:, None, None, None]
        images = torch.where(chosen, torch.rot90(images, count, (2, 3)), images)
    return images


def _reflected(size: int, shift: Tensor) -> Tensor:
    """Positions 0 … size − 1 moved by −shift, mirrored at the borders. (B,) → (B, size)."""
    period = 2 * (size - 1)
    place = (torch.arange(size, device=shift.device) - shift[:, None]) % period
    return torch.where(place < size, place, period - place)


def move(images: Tensor, shift: Tensor) -> Tensor:
    """Shifts by whole pixels, mirroring at the borders. (B, C, S, S), (B, 2) with dx, dy → (B, C, S, S)."""
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


def apply(images: Tensor, drawn: Augmentation) -> Tensor:
    """Augments images (B, 3, S, S), differentiably; images without a transformation are unchanged."""
    images = move(flip_and_rotate(images, drawn.flip, drawn.quarters), drawn.shift)
    if drawn.warped.any():
        images = torch.where(drawn.warped[:, None, None, None], warp(images, drawn.geometry), images)
    if drawn.coloured.any():
        images = torch.where(drawn.coloured[:, None, None, None], tint(images, drawn.colour), images)
    return images


class Controller(nn.Module):
    """State of the adaptation: probability p, and sum and number of the signs of D(real) since the last change."""

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
        """Adds a batch's mean sign of D(real)."""
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
