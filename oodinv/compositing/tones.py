"""Weights for changes of tone, which are proportional in shadows, and for new content, which covers them."""

import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.pixels import Levels, Mask, luma

DEEP = 64.0
"""Grey levels: below this, such as in black hair, tones change in proportion; lifted evenly, hair would look hazy."""
TONING = 80.0
"""Grey levels: changes well below this are changes of tone; those well above are new content."""


def spare_shadows(before: Levels, change: Levels) -> Levels:
    """Weights a change (H, W, 3) so that black hair and shadows stay dark; new content is not weighted."""
    return np.asarray(change * tone_weight(shadow_weight(before), luma(change))[..., None], dtype=np.float32)


def shadow_weight(before: Levels) -> Mask:
    """Luma / DEEP, clipped to [0, 1], (H, W)."""
    return np.asarray((luma(before) / DEEP).clip(0, 1), dtype=np.float32)


def tone_weight(weight: NDArray[np.float32], change: NDArray[np.float32]) -> Mask:
    """1 − t · (1 − weight) with t = exp(−(change / TONING)²): `weight` for small changes, 1 for large ones."""
    return np.asarray(1 - np.exp(-np.square(change / TONING)) * (1 - weight), dtype=np.float32)
