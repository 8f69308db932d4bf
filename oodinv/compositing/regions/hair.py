"""Region of the head with its hair, limited to changes of hair colour."""

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.regions.base import EditedCrop, FlowKind, Region
from oodinv.compositing.regions.face import likeness
from oodinv.compositing.tones import shadow_weight
from oodinv.faces.geometry import HEAD, face_weight, features_weight
from oodinv.imaging.pixels import Levels, Mask, luma, smoothstep

WINDOW = 1 / 4
"""Side of the guided filter's window, as a share of the crop's side."""
EDGE = 20.0
"""Grey levels: regularisation of the guided filter; variations of luma below this are not treated as edges."""
HAIR = (0.1, 0.4)
"""Relative change, as shares of the 95th percentile, at which the weight of hair is 0 and 1."""
_DIM = 32.0  # grey levels: added to luma when changes are compared in proportion to it


class Hair(Region):
    """Region for changes of hair colour."""

    def weight(self, size: int, crop_scale: float) -> Mask:
        """1 on the head, falling to 0 towards the border of the crop, (size, size)."""
        return face_weight(size, crop_scale, HEAD)

    def limit(self, edit: EditedCrop) -> Levels:
        """Applies `hair_change` to the head without its features."""
        size = edit.before.shape[0]
        change = (1 - features_weight(size, edit.crop_scale)[..., None]) * (edit.after - edit.before)
        colour = hair_change(edit.before, change, edit.unedited)
        return edit.before + self.weight(size, edit.crop_scale)[..., None] * colour

    def flow_kind(self, restores_residual: bool) -> FlowKind | None:  # noqa: ARG002
        """Returns None: hair does not move."""
        return None


def hair_change(before: Levels, change: Levels, unedited: Levels) -> Levels:
    """Extracts the change of hair colour from a change (H, W, 3). → (H, W, 3).

    Generated hair does not coincide exactly with the photo's, gets thinner as it gets lighter, and skin and background
    change a little too. So the change is smoothed along edges of the photo by `guided_filter`, weighted by `likeness`,
    and pixels whose change, relative to their luma, is far below that of hair are excluded (HAIR).
    """
    smoothed = guided_filter(change, luma(before), likeness(before, unedited))
    relative = np.abs(smoothed).mean(axis=2) / (luma(before).clip(0) + _DIM)
    strongest = np.percentile(relative, 95)
    if strongest == 0:
        return smoothed
    share = smoothstep(np.asarray((relative / strongest - HAIR[0]) / (HAIR[1] - HAIR[0]), dtype=np.float32))
    return smoothed * (share * shadow_weight(before))[..., None]


def guided_filter(change: Levels, guide: NDArray[np.float32], weight: Mask) -> Levels:
    """Smooths a change (H, W, 3) except at edges of a guide (H, W), by a weighted guided filter. → (H, W, 3).

    Around each pixel, the result is a linear function of the guide, fitted by ridge regression (EDGE) within a WINDOW;
    weight (H, W). Source: He, Sun and Tang, "Guided image filtering" (2010).
    """
    side = 2 * round(WINDOW / 2 * guide.shape[0]) + 1
    grey = guide[..., None]
    weights = np.asarray(weight[..., None] + 1e-3, dtype=np.float32)  # a plain mean where all weights are 0

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(_box(values * weights, side) / _box(weights, side), dtype=np.float32)

    grey_mean, change_mean = mean(grey), mean(change)
    variance = mean(grey * grey) - grey_mean * grey_mean
    slope = ((mean(grey * change) - grey_mean * change_mean) / (variance + EDGE**2)).astype(np.float32)
    offset = (change_mean - slope * grey_mean).astype(np.float32)
    return mean(slope) * grey + mean(offset)


def _box(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    return np.asarray(cv2.blur(values, (side, side)), dtype=np.float32).reshape(values.shape)


REGION = Hair()
