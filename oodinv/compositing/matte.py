"""Alpha mattes: soft outlines, strand by strand, from label maps that are coarser than the picture.

Source: "Guided Image Filtering" (He, Sun and Tang, TPAMI 2013), section 4.6, with the picture's colours as guide.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.pixels import Levels, Mask

RADIUS = 1 / 42
"""Radius of the windows, as a share of the picture's side: about three pixels of a label map."""
SMOOTHNESS = 1e-4
"""ε of the paper, for colours in [0, 1]."""
ENDS = (0.35, 0.95)
"""Values of the filtered label that become 0 and 1."""


def alpha_matte(picture: Levels, label: Mask) -> Mask:
    """Fits the outline of a label (S, S) in [0, 1] to the edges of a picture (S, S, 3) in grey levels. → (S, S)."""
    guide = picture / np.float32(255)
    side = 2 * round(RADIUS * len(picture)) + 1
    mean_guide, mean_label = _mean(guide, side), _mean(label, side)
    covariance = _mean(guide * label[..., None], side) - mean_guide * mean_label[..., None]
    products = [guide[..., i] * guide[..., j] for i in range(3) for j in range(3)]
    variance = np.stack([_mean(p, side) for p in products], axis=-1).reshape(*label.shape, 3, 3)
    variance += SMOOTHNESS * np.eye(3, dtype=np.float32) - mean_guide[..., None] * mean_guide[..., None, :]
    slope = np.linalg.solve(variance, covariance[..., None])[..., 0]
    offset = mean_label - (slope * mean_guide).sum(axis=-1)
    filtered = (_mean(slope, side) * guide).sum(axis=-1) + _mean(offset, side)
    low, high = ENDS
    return np.asarray(((filtered - low) / (high - low)).clip(0, 1), dtype=np.float32)


def _mean(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Mean over square windows with this side in pixels, (H, W) or (H, W, C)."""
    return np.asarray(cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT), dtype=np.float32)
