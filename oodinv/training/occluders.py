"""Synthetic occluders: coloured shapes, text and foreign textures pasted on faces.

They show what out-of-domain content is, to test masks or, with `occluders` in a recipe, to train them.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oodinv import image

Occluder = Literal["shape", "text", "texture"]
KINDS: tuple[Occluder, ...] = get_args(Occluder)

LETTERS = "ABCDEFGHKMNPRSTUVWXYZ2345689"
FACE_CENTRE, FACE_RADII = (0.5, 0.58), (0.22, 0.28)
"""x, y of the middle of a face in an FFHQ crop and half its width and height, as shares of the side."""


@dataclass(frozen=True)
class Occluded:
    """A face with something on it: pixels uint8 (S, S, 3) and where that is, float32 (S, S) in [0, 1]."""

    pixels: NDArray[np.uint8]
    where: NDArray[np.float32]


def _blob(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A filled ellipse, rectangle or triangle across the face, uint8 (size, size), 255 inside."""
    canvas = np.zeros((size, size), np.uint8)
    centre = size * rng.uniform(0.3, 0.7, 2)
    radii = size * rng.uniform(0.09, 0.2, 2)
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


def _text(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Some letters across the face, uint8 (size, size), 255 on them."""
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


def occlude(face: NDArray[np.uint8], rng: np.random.Generator, kind: Occluder | None = None) -> Occluded:
    """Pastes one occluder on a face, uint8 (S, S, 3); of a random kind if none is named."""
    size = face.shape[0]
    kind = kind or KINDS[int(rng.integers(len(KINDS)))]
    drawn = _text(size, rng) if kind == "text" else _blob(size, rng)
    where = drawn.astype(np.float32) / np.float32(255)
    plain = np.broadcast_to(rng.uniform(0, 255, 3).astype(np.float32), face.shape)
    content = _texture(size, rng) if kind == "texture" else plain
    weight = where[..., None]
    pixels = np.rint(weight * content + (1 - weight) * face).astype(np.uint8)
    return Occluded(pixels, where)


def occlude_batch(images: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Pastes occluders on a share of the images (B, 3, S, S) in [−1, 1]; the others stay exactly as they are."""
    chosen = np.flatnonzero(rng.random(len(images)) < share)
    if not len(chosen):
        return images
    images = images.clone()
    for index in chosen:
        face = image.to_uint8(images[index][None])[0]
        images[index] = image.to_tensor(occlude(face, rng).pixels)[0].to(images.device)
    return images


def skin(size: int) -> NDArray[np.bool_]:
    """An ellipse inside the face of an FFHQ crop, (size, size)."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    (cx, cy), (rx, ry) = FACE_CENTRE, FACE_RADII
    inside: NDArray[np.bool_] = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
    return inside


@dataclass(frozen=True)
class MaskContrast:
    """Mean M over the pixels of occluders, and over the skin that they leave free."""

    occluder: float
    skin: float

    @property
    def ratio(self) -> float:
        """How many times larger M is where it should be."""
        return self.occluder / max(self.skin, 1e-6)


def mask_contrast(masks: Tensor, where: Tensor) -> MaskContrast:
    """Means of masks (B, 1, S, S) over what was pasted, where (B, 1, S, S) in [0, 1], and over free skin.

    Averaged over all pixels of the batch alike. Edges, where `where` is between 0.05 and 0.95, count for neither.
    """
    face = torch.from_numpy(skin(masks.shape[-1])).to(masks.device)
    pasted, free = where > 0.95, (where < 0.05) & face
    return MaskContrast(masks[pasted].mean().item(), masks[free].mean().item())
