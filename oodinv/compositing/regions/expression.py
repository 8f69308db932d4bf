"""The face with its hair, without the change of complexion that a generator adds to a smile."""

import numpy as np

from oodinv.compositing.regions.face import Face
from oodinv.imaging.pixels import Levels, blurred, luma

TINT = 1 / 16
"""Standard deviation, as a share of the crop's side, of the blur that separates a tint from lips and teeth."""


class Expression(Face):
    """Changes the face without a tint."""

    def wanted(self, change: Levels) -> Levels:
        """The change without its tint."""
        return untinted(change)


def untinted(change: Levels) -> Levels:
    """Removes from a change (H, W, 3) the part of its colour that is coarser than TINT; brightness stays."""
    colour = change - luma(change)[..., None]
    return np.asarray(change - blurred(colour, TINT * change.shape[0]), dtype=np.float32)


REGION = Expression()
