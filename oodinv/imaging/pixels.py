"""Arrays of pixels: their types, levels and tensors, resizing, luma and blur."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor


Pixels = NDArray[np.uint8]
Levels = NDArray[np.float32]
"""A picture in grey levels, (H, W, 3) in about [0, 255]."""
Mask = NDArray[np.float32]
"""Weight of each pixel, (H, W) in [0, 1]."""
Flow = NDArray[np.float32]
"""Offset from each pixel of a picture to its source in another, (H, W, 2) in pixels."""
Number = TypeVar("Number", bound=np.generic)
_ROWS = 256


def resize_pixels(pixels: Pixels, size: int) -> Pixels:
    """uint8 (H, W, 3) → (size, size, 3), anti-aliased (Lanczos); returned unchanged if it has that size."""
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))


def row_bands(height: int) -> Iterator[slice]:
    """Yields bands of rows, so that large photos are processed with little memory."""
    return (slice(top, min(top + _ROWS, height)) for top in range(0, height, _ROWS))


def smoothstep(t: NDArray[np.float32]) -> NDArray[np.float32]:
    """3t² − 2t³, with t clipped to [0, 1]: a transition with zero slope at both ends."""
    t = t.clip(0, 1)
    return t * t * (3 - 2 * t)


def luma(levels: Levels) -> NDArray[np.float32]:
    """Brightness (H, W) of RGB grey levels (H, W, 3), by ITU-R BT.601."""
    return np.asarray(cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def blurred(picture: NDArray[np.float32], deviation: float) -> NDArray[np.float32]:
    """Gaussian blur, (H, W) or (H, W, C); wide ones are computed on a reduced picture."""
    factor = int(deviation / 4)
    if factor < 2:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), deviation), dtype=np.float32)
    height, width = picture.shape[:2]
    size = (max(1, width // factor), max(1, height // factor))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    box = (1 - 1 / factor**2) / 12
    soft = cv2.GaussianBlur(small, (0, 0), np.sqrt((deviation / factor) ** 2 - box))
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def blurred_within(picture: NDArray[np.float32], weight: Mask, deviation: float) -> NDArray[np.float32]:
    """Gaussian mean of a picture (H, W, C) over pixels with a weight (H, W) in [0, 1]; those of weight 0 don't count.

    Source: normalised convolution, Knutsson and Westin, "Normalized and differential convolution" (1993).
    """
    if deviation == 0:
        return picture.copy()
    certain = weight + np.float32(1e-3)
    share = blurred(certain, deviation).clip(1e-3)
    return np.asarray(blurred(picture * certain[..., None], deviation) / share[..., None], dtype=np.float32)


def fading(weight: Mask, deviation: float) -> Mask:
    """Lets a weight (H, W) in [0, 1] fall to 0 towards its border, over about twice the deviation. → (H, W)."""
    return smoothstep(2 * blurred(weight, deviation) - 1)


def signed(levels: "Tensor") -> "Tensor":
    """Grey levels, of any shape → values in [−1, 1]: v / 127.5 − 1."""
    return levels / 127.5 - 1


def levels_of(images: "Tensor") -> "Tensor":
    """Values in [−1, 1], of any shape → grey levels, float32, not clipped: (x + 1) · 127.5."""
    return (images.float() + 1) * 127.5


def to_tensor(pixels: Pixels) -> "Tensor":
    """uint8 (H, W, 3) or (B, H, W, 3) → float32 (B, 3, H, W) in [−1, 1]."""
    import torch  # takes a second to load, which what only reads and writes pictures needn't wait for

    batch = pixels if pixels.ndim == 4 else pixels[None]
    return signed(torch.from_numpy(np.array(batch)).permute(0, 3, 1, 2).float())


def to_uint8(images: "Tensor") -> Pixels:
    """float (B, C, H, W) in [−1, 1], clipped → uint8 (B, H, W, C): rint((x + 1) · 127.5)."""
    scaled = levels_of(images.detach()).round().clamp(0, 255).byte()
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).cpu().numpy())


def to_levels(images: "Tensor") -> Levels:
    """float (B, 3, S, S) in [−1, 1] → float32 (B, S, S, 3) in grey levels, clipped to [0, 255]."""
    scaled = levels_of(images.detach()).clamp(0, 255).permute(0, 2, 3, 1)
    return np.ascontiguousarray(scaled.cpu().numpy(), dtype=np.float32)


def rounded(levels: Levels) -> Pixels:
    """Rounds grey levels to uint8."""
    return np.asarray(np.rint(levels).clip(0, 255), dtype=np.uint8)
