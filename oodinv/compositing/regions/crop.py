"""Region of the whole crop, which does not limit an edit."""

import numpy as np

from oodinv.compositing.regions.base import EditedCrop, Region
from oodinv.imaging.pixels import Levels, Mask


class Crop(Region):
    """Region without limits."""

    def weight(self, size: int, crop_scale: float) -> Mask:  # noqa: ARG002
        """1 at every pixel, (size, size)."""
        return np.ones((size, size), np.float32)

    def limit(self, edit: EditedCrop) -> Levels:
        """Returns the edited composite unchanged."""
        return edit.after


REGION = Crop()
