"""The face beside its features: what the generator had drawn well, and without a tint."""

import numpy as np

from oodinv.compositing.detail_transfer import soft
from oodinv.imaging.pixels import Levels, Mask, blurred, luma

ALIKE = 50.0
"""Grey levels: a pixel that the generator drew wrong by this much counts for about a third, by half as much fully."""
TINT = 1 / 16
"""Of the crop's side: standard deviation of the blur of what counts as a tint, which an expression has no need for."""


def likeness(before: Levels, unedited: Levels) -> Mask:
    """How well the generator drew each pixel before the edit, (H, W) in [0, 1]; ALIKE says how strict that is."""
    misfit = soft(np.abs(before - unedited).mean(axis=2))
    return np.asarray(np.exp(-((misfit / ALIKE) ** 4)), dtype=np.float32)


def untinted(change: Levels) -> Levels:
    """A change (H, W, 3) without its tint, the part of its colour that is coarser than TINT; brightness stays.

    The whole face takes another complexion with a generator's smile, but lips and teeth are fine enough to stay.
    """
    colour = change - luma(change)[..., None]
    return np.asarray(change - blurred(colour, TINT * change.shape[0]), dtype=np.float32)
