"""The whole crop: an edit is not limited."""

import numpy as np

from oodinv.compositing.regions.base import Change, Region
from oodinv.imaging.pixels import Levels, Mask


class Crop(Region):
    """Changes everything."""

    def reach(self, size: int, crop_scale: float) -> Mask:  # noqa: ARG002
        """1 everywhere."""
        return np.ones((size, size), np.float32)

    def limit(self, change: Change) -> Levels:
        """Returns the edited composite."""
        return change.after


REGION = Crop()
