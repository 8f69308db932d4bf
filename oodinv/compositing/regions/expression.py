"""Region of the face with its hair that excludes changes of complexion, which generators add to a smile."""

import numpy as np

from oodinv.compositing.regions.face import Face
from oodinv.imaging.pixels import Levels, blurred, luma

TINT = 1 / 16
"""Standard deviation, as a share of the crop's side, of the blur that separates a tint from lips and teeth."""


class Expression(Face):
    """Region of the face that removes the tint from changes."""

    def filtered(self, change: Levels) -> Levels:
        """Removes the tint from a change (S, S, 3)."""
        return untinted(change)


def untinted(change: Levels) -> Levels:
    """Removes colour coarser than TINT from a change (H, W, 3) and preserves its luma."""
    colour = change - luma(change)[..., None]
    return np.asarray(change - blurred(colour, TINT * change.shape[0]), dtype=np.float32)


REGION = Expression()
