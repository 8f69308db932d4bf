"""The head with its hair, which only changes its colour."""

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.regions.base import Change, Movement, Region
from oodinv.compositing.regions.face import likeness
from oodinv.compositing.tones import tone_depth
from oodinv.faces.geometry import HEAD, face_weight, features_weight
from oodinv.imaging.pixels import Levels, Mask, luma, smoothstep

WINDOW = 1 / 4
"""Of the crop's side: a change of hair is averaged over squares of this size."""
EVEN = 20.0
"""Grey levels: pixels whose brightness spreads less than this are of one kind, and change alike."""
HAIR = (0.1, 0.4)
"""Changes below the first of these shares of what hair changes by are not hair's; those above the second are."""
_DIM = 32.0  # grey levels: brightness up to which changes are compared as they are, above in proportion to it


class Hair(Region):
    """Changes the colour of the hair."""

    def reach(self, size: int, crop_scale: float) -> Mask:
        """1 on the head, falling to 0 towards the border of the crop."""
        return face_weight(size, crop_scale, HEAD)

    def limit(self, change: Change) -> Levels:
        """Changes the head without its features, by `hair_change`."""
        size = change.before.shape[0]
        wanted = (1 - features_weight(size, change.crop_scale)[..., None]) * (change.after - change.before)
        colour = hair_change(change.before, wanted, change.unedited)
        return change.before + self.reach(size, change.crop_scale)[..., None] * colour

    def movement(self, gives_back: bool) -> Movement | None:  # noqa: ARG002
        """None: hair stays where it is."""
        return None


def hair_change(before: Levels, change: Levels, unedited: Levels) -> Levels:
    """The part of a change that gives hair another colour, (H, W, 3).

    A generator's hair doesn't lie exactly where the photo's does, gets thinner with a lighter colour, and its skin and
    background change a little too. So a change counts as one of pixels of a kind (`guided`), where the generator drew
    what there is before the edit. What then changes far less than hair does, in proportion to its brightness, stays.
    """
    even = guided(change, luma(before), likeness(before, unedited))
    seen = np.abs(even).mean(axis=2) / (luma(before).clip(0) + _DIM)
    most = np.percentile(seen, 95)
    if most == 0:
        return even
    share = smoothstep(np.asarray((seen / most - HAIR[0]) / (HAIR[1] - HAIR[0]), dtype=np.float32))
    return even * (share * tone_depth(before))[..., None]


def guided(change: Levels, guide: NDArray[np.float32], weight: Mask) -> Levels:
    """The change (H, W, 3) made smooth but at edges of a guide (H, W), where pixels of more weight count more.

    Around each pixel, a linear function of the guide, fitted by ridge regression (EVEN) within a WINDOW. Source: He,
    Sun and Tang, "Guided image filtering" (2010).
    """
    side = 2 * round(WINDOW / 2 * guide.shape[0]) + 1
    grey = guide[..., None]
    weights = np.asarray(weight[..., None] + 1e-3, dtype=np.float32)  # with no weight anywhere, a plain mean

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(_box(values * weights, side) / _box(weights, side), dtype=np.float32)

    grey_mean, change_mean = mean(grey), mean(change)
    spread = mean(grey * grey) - grey_mean * grey_mean
    slope = ((mean(grey * change) - grey_mean * change_mean) / (spread + EVEN**2)).astype(np.float32)
    offset = (change_mean - slope * grey_mean).astype(np.float32)
    return mean(slope) * grey + mean(offset)


def _box(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    return np.asarray(cv2.blur(values, (side, side)), dtype=np.float32).reshape(values.shape)


REGION = Hair()
