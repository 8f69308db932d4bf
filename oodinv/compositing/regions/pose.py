"""The photo itself moves as a head that turns: a rigid motion, fitted to what the generator drew.

A generator draws a turned face as finely as it can, and in a light of its own. How far the head turned shows in all
features at once, even where single ones are too smooth to be followed; then the photo itself can be moved so.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.regions.base import Change, Movement, Region
from oodinv.faces.geometry import face_weight, features_weight, head_depth, places
from oodinv.imaging.flow import moved
from oodinv.imaging.pixels import Flow, Levels, Mask, blurred, luma

LIGHT = 1 / 16
"""Of the crop's side: standard deviation of the blur of what counts as light, which may change while a head turns."""
STRAY = 15.0
"""Grey levels: what misfits by this much counts half; it moves by itself."""
MOST = 0.4
"""Sine of the angle that a head turns at most, and bound of the other motions; a photo moved further would fold."""
TOGETHER = 1 / 16
"""Standard deviation, as a share of the crop's side, of the blur of the border of what stays."""
AROUND = 1 / 10
"""Standard deviation, as a share of the crop's side, of the blur that gives the local density of kept pixels."""
LUMP = (0.3, 0.5)
"""Kept pixels with a local density below the first threshold follow the head; above the second they stay."""
_SIDE = 128
_STEPS = {1 / 24: 6, 1 / 40: 4, 1 / 80: 6}  # by blur, of the crop's side: first far, then exactly


class Pose(Region):
    """Turns the head of the photo; nothing generated is shown."""

    generates = False

    def reach(self, size: int, crop_scale: float) -> Mask:
        """1 on the face, falling to 0 around the hair."""
        return face_weight(size, crop_scale)

    def limit(self, change: Change) -> Levels:
        """Moves the unedited composite by the flow."""
        return moved(change.before, change.flow)

    def movement(self, gives_back: bool) -> Movement | None:  # noqa: ARG002
        """The turn of the head."""
        return "turn"

    def carry(self, flow: Flow, kept: Mask, detail: float, crop_scale: float) -> Flow | None:  # noqa: ARG002
        """The turn, except for kept `lumps`, which stay."""
        return np.asarray(flow * (1 - blurred(lumps(kept), TOGETHER * len(kept)))[..., None], dtype=np.float32)


def lumps(kept: Mask) -> Mask:
    """Kept pixels that lie close together, such as a hand or letters, (S, S) in [0, 1].

    A moustache or the rims of glasses are thin: they move with the head. A mask tells what a generator can't draw, and
    not whether that belongs to the face.
    """
    around = blurred(kept, AROUND * kept.shape[0])
    return np.asarray(((around - LUMP[0]) / (LUMP[1] - LUMP[0])).clip(0, 1), dtype=np.float32)


def turn(before: Levels, after: Levels, kept: Mask, crop_scale: float) -> Flow:
    """Where each pixel of a head that an edit turned comes from, as offsets (H, W, 2) in pixels; 0 beyond the head.

    For 128 x 128 pixels where crops are larger (`flow.enlarged`). before, after: what the generator drew without
    and with the edit, (H, W, 3). kept: 1 where something covers the face, which doesn't count, (H, W).

    What the generator moved is taken for a rigid shape that turned, nodded, tilted and shifted a little: both parts of
    the offset are linear in place and depth, p · (1, x, y, z). p makes before, moved, fit after in all but LIGHT, by
    Gauss-Newton steps with Cauchy's weights (STRAY); what a turn doesn't explain, such as a smile, has little part in
    it. Of these motions, the result is the turn and the nod, p_z · z: in a photo, the outline of a head stays where it
    is. Source: Baker and Matthews, "Lucas-Kanade 20 years on" (2004).
    """
    side = min(before.shape[0], _SIDE)
    grey_before, grey_after, covered = (
        np.asarray(cv2.resize(p, (side, side), interpolation=cv2.INTER_AREA), dtype=np.float32)
        for p in (luma(before), luma(after), kept)
    )
    weight = features_weight(side, crop_scale) * (1 - covered)
    z = head_depth(side, crop_scale)
    shape = _shape(z, crop_scale)
    motion = np.zeros((2, len(shape)))
    for blur, steps in _STEPS.items():
        drawn, wanted = (_structure(grey, blur * side) for grey in (grey_before, grey_after))
        for _ in range(steps):
            step = _step(drawn, wanted, np.einsum("ck,khw->hwc", motion, shape), shape, weight)
            motion = np.clip(motion + step, -MOST, MOST)
    turned = motion[:, 3] * z[..., None]
    return np.asarray(turned * (side / crop_scale), dtype=np.float32)


def _shape(z: NDArray[np.float32], crop_scale: float) -> NDArray[np.float32]:
    """1, x, y and depth z about their means, at the pixels of a crop, (4, side, side) in pixels."""
    parts = np.broadcast_arrays(*places(len(z), crop_scale), z)
    whole = np.stack([np.ones(z.shape), *(part - part.mean() for part in parts)])
    return np.asarray(whole * (len(z) / crop_scale), dtype=np.float32)


def _structure(grey: NDArray[np.float32], blur: float) -> NDArray[np.float32]:
    """A picture (H, W) without its light, and blurred."""
    return blurred(grey, blur) - blurred(grey, LIGHT * grey.shape[0])


def _step(
    drawn: NDArray[np.float32],
    wanted: NDArray[np.float32],
    flow: NDArray[np.float64],
    shape: NDArray[np.float32],
    weight: Mask,
) -> NDArray[np.float64]:
    """What to add to a motion (2, 4), so that the drawn structure, moved by its flow (H, W, 2), fits better."""
    found = moved(drawn, flow.astype(np.float32))
    misfit = wanted - found
    slopes = np.stack([cv2.Scharr(found, -1, *axis, scale=1 / 32) for axis in ((1, 0), (0, 1))])
    jacobian = (slopes[:, None] * shape).reshape(2 * len(shape), -1)
    counts = (weight / (1 + np.square(misfit / STRAY))).ravel()
    normal = (jacobian * counts) @ jacobian.T
    damping = np.diag(1e-4 * np.diag(normal) + 1e-6)
    return np.linalg.solve(normal + damping, jacobian @ (counts * misfit.ravel())).reshape(2, -1)


REGION = Pose()
