"""Changes of tone, which spare shadows, and changes that draw something new."""

import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.pixels import Levels, Mask, luma

DEEP = 64.0
"""Grey levels: what is darker, such as black hair, changes in proportion: lifted, it would get a veil."""
TONING = 80.0
"""Grey levels: changes well below are tones, which spare shadows; those well above draw something new."""


def deep_kept(before: Levels, change: Levels) -> Levels:
    """A change (H, W, 3) where black hair and shadows keep their depth: tones change in proportion (`tone_depth`)."""
    return np.asarray(change * tone_share(tone_depth(before), luma(change))[..., None], dtype=np.float32)


def tone_depth(before: Levels) -> Mask:
    """Share of a tone that goes to each pixel, less than 1 where it is DEEP."""
    return np.asarray((luma(before) / DEEP).clip(0, 1), dtype=np.float32)


def tone_share(share: NDArray[np.float32], change: NDArray[np.float32]) -> Mask:
    """1 − t · (1 − share) with t = exp(−(change / TONING)²): tones get their share, what is drawn anew gets all."""
    return np.asarray(1 - np.exp(-np.square(change / TONING)) * (1 - share), dtype=np.float32)
