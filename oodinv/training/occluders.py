"""Synthetic occluders: shapes, letters, hats and limbs pasted on faces, of one colour, a texture or another photo.

They are out-of-domain content at known places, to test masks with or, with `occluders` in a recipe, to train them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oodinv.faces.geometry import SKIN, places
from oodinv.imaging.pixels import to_tensor, to_uint8

Outline = Literal["shape", "text", "hat", "limb"]
Fill = Literal["plain", "texture", "photo"]
OUTLINES: tuple[Outline, ...] = get_args(Outline)
FILLS: tuple[Fill, ...] = get_args(Fill)

LETTERS = "ABCDEFGHKMNPRSTUVWXYZ2345689"
"""Letters of text occluders."""


@dataclass(frozen=True)
class Occluded:
    """A face with an occluder: pixels uint8 (S, S, 3), and the occluder's coverage, float32 (S, S) in [0, 1]."""

    pixels: NDArray[np.uint8]
    where: NDArray[np.float32]


def _blob(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draws a filled ellipse, triangle or quadrilateral across the face. → uint8 (size, size), 255 inside"""
    canvas = np.zeros((size, size), np.uint8)
    centre = size * rng.uniform(0.3, 0.7, 2)
    radii = size * rng.uniform(0.09, 0.26, 2)
    corners = int(rng.integers(2, 5))
    if corners == 2:
        axes = (int(radii[0]), int(radii[1]))
        where = (int(centre[0]), int(centre[1]))
        cv2.ellipse(canvas, where, axes, float(rng.uniform(0, 180)), 0, 360, 255, cv2.FILLED, cv2.LINE_AA)
        return canvas
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(corners) / corners
    points = centre + radii.max() * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cv2.fillPoly(canvas, [points.round().astype(np.int32)], 255, cv2.LINE_AA)
    return canvas


def _hat(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draws a hat with its brim across the forehead. → uint8 (size, size), 255 inside"""
    canvas = np.zeros((size, size), np.uint8)
    middle, brim = size * rng.uniform(0.4, 0.6), size * rng.uniform(0.15, 0.4)
    half, tilt = size * rng.uniform(0.25, 0.55), size * rng.uniform(-0.1, 0.1)
    crown, thickness = half * rng.uniform(0.6, 1.0), size * rng.uniform(0.02, 0.1)
    left, right = middle - half, middle + half
    brim_corners = [(left, brim - tilt), (left, brim - tilt - thickness), (right, brim + tilt - thickness)]
    top = [(middle + crown, -size * 0.1), (middle - crown, -size * 0.1)]
    sides = [(middle - crown, brim), (middle + crown, brim)]
    for corners in ([*brim_corners, (right, brim + tilt)], [*sides, *top]):
        cv2.fillPoly(canvas, [np.array(corners).round().astype(np.int32)], 255, cv2.LINE_AA)
    return canvas


def _limb(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draws an arm from the border to the face with up to four fingers. → uint8 (size, size), 255 inside"""
    canvas = np.zeros((size, size), np.uint8)
    angle = rng.uniform(0, np.pi)  # from below or from a side
    hand = size * rng.uniform((0.25, 0.45), (0.75, 0.85))
    start = hand + size * np.array([np.cos(angle), np.sin(angle)])
    width = size * rng.uniform(0.1, 0.2)
    _stroke(canvas, start, hand, width)
    for spread in np.linspace(-0.5, 0.5, int(rng.integers(0, 5))):
        towards = np.array([np.cos(angle + np.pi + spread), np.sin(angle + np.pi + spread)])
        _stroke(canvas, hand, hand + towards * width * rng.uniform(1, 1.8), width / 3.5)
    return canvas


def _stroke(canvas: NDArray[np.uint8], start: NDArray[np.float64], end: NDArray[np.float64], width: float) -> None:
    """Draws a thick line with round ends."""
    ends = [(int(x), int(y)) for x, y in (start.round(), end.round())]
    cv2.line(canvas, ends[0], ends[1], 255, max(1, round(width)), cv2.LINE_AA)


def _text(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draws three to five letters across the face. → uint8 (size, size), 255 inside"""
    canvas = np.zeros((size, size), np.uint8)
    letters = "".join(rng.choice(list(LETTERS), int(rng.integers(3, 6))))
    scale, thickness = size * rng.uniform(0.012, 0.02), max(1, round(size * rng.uniform(0.025, 0.05)))
    (width, height), _ = cv2.getTextSize(letters, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    x = int((size - width) * rng.uniform(0.3, 0.7))
    y = int(height + (size - height) * rng.uniform(0.3, 0.7))
    cv2.putText(canvas, letters, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
    return canvas


def _texture(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Checks or stripes of two colours, float32 (size, size, 3) in [0, 255]."""
    y, x = np.mgrid[:size, :size]
    period = max(2, round(size * rng.uniform(0.03, 0.12)))
    angle = rng.uniform(0, np.pi)
    along = (np.floor((x * np.cos(angle) + y * np.sin(angle)) / period) % 2).astype(bool)
    across = (np.floor((y * np.cos(angle) - x * np.sin(angle)) / period) % 2).astype(bool)
    pattern = along ^ across if rng.random() < 0.5 else along
    colours = rng.uniform(0, 255, (2, 3))
    texture: NDArray[np.float32] = np.where(pattern[..., None], colours[0], colours[1]).astype(np.float32)
    return texture


DRAW: dict[Outline, Callable[[int, np.random.Generator], NDArray[np.uint8]]] = {
    "shape": _blob,
    "text": _text,
    "hat": _hat,
    "limb": _limb,
}


def _shade(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A linear gradient of brightness, float32 (size, size, 1) around 1."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.8)
    shade: NDArray[np.float32] = (1 + strength * (x * np.cos(angle) + y * np.sin(angle)))[..., None].astype(np.float32)
    return shade


def _part(photo: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """A random part of a photo (S, S, 3), enlarged to its size and rotated by quarters, float32 in [0, 255]."""
    size = photo.shape[0]
    side = int(size * rng.uniform(0.3, 0.8))
    y, x = rng.integers(0, size - side, 2)
    part = np.rot90(photo[y : y + side, x : x + side], int(rng.integers(4)))
    return cv2.resize(np.ascontiguousarray(part), (size, size), interpolation=cv2.INTER_LINEAR).astype(np.float32)


def _content(fill: Fill, photo: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """The content of an occluder, float32 (S, S, 3) in [0, 255]."""
    size = photo.shape[0]
    if fill == "photo":
        return _part(photo, rng)
    plain = np.broadcast_to(rng.uniform(0, 255, 3).astype(np.float32), photo.shape)
    content = _texture(size, rng) if fill == "texture" else plain
    lit: NDArray[np.float32] = np.clip(content * _shade(size, rng), 0, 255)
    return lit


def occlude(
    face: NDArray[np.uint8],
    rng: np.random.Generator,
    outline: Outline | None = None,
    fill: Fill | None = None,
    photo: NDArray[np.uint8] | None = None,
) -> Occluded:
    """Pastes one occluder on a face, uint8 (S, S, 3); outline and fill are random unless given.

    photo: source of a fill of "photo", of the face's size; by default the face itself.
    """
    outline = outline or OUTLINES[int(rng.integers(len(OUTLINES)))]
    fill = fill or FILLS[int(rng.integers(len(FILLS)))]
    where = DRAW[outline](face.shape[0], rng).astype(np.float32) / np.float32(255)
    content = _content(fill, face if photo is None else photo, rng)
    weight = where[..., None]
    pixels = np.rint(weight * content + (1 - weight) * face).astype(np.uint8)
    return Occluded(pixels, where)


@dataclass(frozen=True)
class OccludedBatch:
    """Faces (B, 3, S, S) in [−1, 1], some with occluders, and the coverage by them, (B, 1, S, S) in [0, 1]."""

    images: Tensor
    where: Tensor


def occlude_batch(images: Tensor, share: float, rng: np.random.Generator) -> OccludedBatch:
    """Pastes occluders on a share of the images (B, 3, S, S) in [−1, 1]; the others are unchanged.

    Fills of "photo" are cut from the next image of the batch.
    """
    where = torch.zeros_like(images[:, :1])
    chosen = np.flatnonzero(rng.random(len(images)) < share)
    if not len(chosen):
        return OccludedBatch(images, where)
    pixels, images = to_uint8(images), images.clone()
    for index in chosen:
        found = occlude(pixels[index], rng, photo=pixels[(index + 1) % len(pixels)])
        images[index] = to_tensor(found.pixels)[0].to(images.device)
        where[index, 0] = torch.from_numpy(found.where).to(images.device)
    return OccludedBatch(images, where)


@lru_cache(maxsize=4)
def skin(size: int, crop_scale: float) -> NDArray[np.bool_]:
    """Ellipse inside the face of a crop, (size, size), read-only; crop_scale: see `framing.ffhq_quad`."""
    x, y = places(size, crop_scale)
    (cx, cy), (rx, ry) = SKIN
    inside: NDArray[np.bool_] = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
    inside.flags.writeable = False
    return inside


@dataclass(frozen=True)
class MaskContrast:
    """Mean M over the pixels of occluders, and over uncovered skin."""

    occluder: float
    skin: float

    @property
    def ratio(self) -> float:
        """Mean M on occluders divided by that on skin."""
        return self.occluder / max(self.skin, 1e-6)


def mask_contrast(masks: Tensor, where: Tensor, crop_scale: float = 1.0) -> MaskContrast:
    """Means of masks (B, 1, S, S) over occluders, of coverage `where` (B, 1, S, S) in [0, 1], and uncovered skin.

    The mean is over all pixels of the batch; edges, with coverage between 0.05 and 0.95, are left out.
    """
    face = torch.tensor(skin(masks.shape[-1], crop_scale)).to(masks.device)
    pasted, free = where > 0.95, (where < 0.05) & face
    return MaskContrast(masks[pasted].mean().item(), masks[free].mean().item())
