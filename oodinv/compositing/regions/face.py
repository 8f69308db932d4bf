"""Region of the face with its hair; outside the features, the edit is weighted by the accuracy of the generator."""

import numpy as np

from oodinv.compositing.detail_transfer import soft
from oodinv.compositing.regions.base import EditedCrop, Region
from oodinv.compositing.tones import spare_shadows
from oodinv.faces.geometry import face_weight, features_weight
from oodinv.imaging.pixels import Levels, Mask

ALIKE = 50.0
"""Grey levels: reconstruction error at which the weight of a pixel falls to 1/e; at half of it, it is still 0.94."""


class Face(Region):
    """Region of the face; shadows stay dark (`spare_shadows`)."""

    def weight(self, size: int, crop_scale: float) -> Mask:
        """1 on the face, falling to 0 around the hair, (size, size)."""
        return face_weight(size, crop_scale)

    def limit(self, edit: EditedCrop) -> Levels:
        """Applies the edit fully to the features, and in proportion to `likeness` to the rest of the face."""
        size = edit.before.shape[0]
        change = self.filtered(spare_shadows(edit.before, edit.after - edit.before))
        accuracy = np.maximum(likeness(edit.before, edit.unedited), features_weight(size, edit.crop_scale))
        return edit.before + (self.weight(size, edit.crop_scale) * accuracy)[..., None] * change

    def filtered(self, change: Levels) -> Levels:
        """Filters a change (S, S, 3); the default is the identity."""
        return change


def likeness(before: Levels, unedited: Levels) -> Mask:
    """exp(−(e / ALIKE)⁴) with the blurred reconstruction error e of the unedited picture, (H, W) in [0, 1]."""
    error = soft(np.abs(before - unedited).mean(axis=2))
    return np.asarray(np.exp(-((error / ALIKE) ** 4)), dtype=np.float32)


REGION = Face()
