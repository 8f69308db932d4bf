"""The face with its hair; beside the features it changes where the generator had drawn it well."""

import numpy as np

from oodinv.compositing.detail_transfer import soft
from oodinv.compositing.regions.base import Change, Region
from oodinv.compositing.tones import deep_kept
from oodinv.faces.geometry import face_weight, features_weight
from oodinv.imaging.pixels import Levels, Mask

ALIKE = 50.0
"""Grey levels: a pixel that the generator drew wrong by this much counts for about a third, by half as much fully."""


class Face(Region):
    """Changes the face. Shadows keep their depth (`deep_kept`)."""

    def reach(self, size: int, crop_scale: float) -> Mask:
        """1 on the face, falling to 0 around the hair."""
        return face_weight(size, crop_scale)

    def limit(self, change: Change) -> Levels:
        """Changes the features fully and the rest of the face in proportion to `likeness`."""
        size = change.before.shape[0]
        wanted = self.wanted(deep_kept(change.before, change.after - change.before))
        known = np.maximum(likeness(change.before, change.unedited), features_weight(size, change.crop_scale))
        return change.before + (self.reach(size, change.crop_scale) * known)[..., None] * wanted

    def wanted(self, change: Levels) -> Levels:
        """The part of a change (S, S, 3) that belongs to the edit: all of it."""
        return change


def likeness(before: Levels, unedited: Levels) -> Mask:
    """How well the generator drew each pixel before the edit, (H, W) in [0, 1]; ALIKE says how strict that is."""
    misfit = soft(np.abs(before - unedited).mean(axis=2))
    return np.asarray(np.exp(-((misfit / ALIKE) ** 4)), dtype=np.float32)


REGION = Face()
