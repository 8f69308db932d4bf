"""Region that warps the photo by a head rotation, which is fitted to the generated pictures.

Generated pictures of a turned face lack the photo's detail and change its light. But they determine the angle of the
rotation, from all features together, and the photo itself can be warped by that.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.regions.base import EditedCrop, FlowKind, Place, Region
from oodinv.faces.geometry import features_weight, head_depth, places
from oodinv.faces.parts import PARTS
from oodinv.imaging.flow import warp
from oodinv.imaging.pixels import Flow, Levels, Mask, blurred, luma

LIGHT = 1 / 16
"""Standard deviation, as a share of the crop's side, of the blur that gives the light, which the fit ignores."""
STRAY = 15.0
"""Grey levels: error at which a pixel's weight in the fit is halved, as where the expression changes."""
MAX_MOTION = 0.4
"""Bound on the sine of the rotation and on the other motion parameters, beyond which the warped photo would fold."""
SMOOTHING = 1 / 16
"""Standard deviation, as a share of the crop's side, of the blur at the border of dense masked areas."""
BORDER = 1 / 32
"""Standard deviation, as a share of the crop's side, of the blur at the border of kept parts."""
NEIGHBOURHOOD = 1 / 10
"""Standard deviation, as a share of the crop's side, of the blur that gives the local density of the mask."""
DENSITY = (0.3, 0.5)
"""Thresholds of the local mask density: masked pixels below the first follow the head, above the second they stay."""
_SIDE = 128
_STEPS = {1 / 24: 6, 1 / 40: 4, 1 / 80: 6}  # steps by blur, a share of the crop's side, from coarse to fine


class Pose(Region):
    """Region of the head, in which the photo's own pixels are warped; no generated pixels appear.

    What is beside the head moves along with its outline, as under a retoucher's brush: if it stood still, the outline
    would be torn.
    """

    parts = PARTS
    kept = ("necklace", "cloth")
    shows_generated = False

    def weight(self, place: Place, size: int) -> Mask:
        """`Region.weight`, blurred further: the photo stretches at borders of kept parts instead of tearing."""
        return blurred(super().weight(place, size), BORDER * size)

    def limit(self, edit: EditedCrop) -> Levels:
        """Warps the unedited composite by the flow."""
        return warp(edit.before, edit.flow)

    def flow_kind(self, restores_residual: bool) -> FlowKind | None:  # noqa: ARG002
        """Returns "turn", the rotation of the head."""
        return "turn"

    def steadied(self, flow: Flow, place: Place) -> Flow:  # noqa: ARG002
        """The rotation as it is: hair turns with the head."""
        return flow

    def detail_flow(self, flow: Flow, mask: Mask, detail: float, place: Place) -> Flow | None:  # noqa: ARG002
        """The rotation (S, S, 2), except in `dense_areas` of the mask, which stay."""
        moving = self.weight(place, len(mask)) * (1 - blurred(dense_areas(mask), SMOOTHING * len(mask)))
        return np.asarray(flow * moving[..., None], dtype=np.float32)


def dense_areas(mask: Mask) -> Mask:
    """Weights (S, S) in [0, 1] of densely masked areas, such as a hand or letters, which do not follow the head.

    Thin ones, such as a moustache or the rims of glasses, do: the mask marks everything that the generator can't
    reproduce, on the face or elsewhere.
    """
    density = blurred(mask, NEIGHBOURHOOD * mask.shape[0])
    return np.asarray(((density - DENSITY[0]) / (DENSITY[1] - DENSITY[0])).clip(0, 1), dtype=np.float32)


def head_turn_flow(before: Levels, after: Levels, mask: Mask, crop_scale: float) -> Flow:
    """Estimates the flow of a head rotation by yaw and pitch, offsets (h, w, 2) from `after` to `before` in pixels.

    Crops larger than 128 pixels are reduced to 128, see `flow.resize_flow`; beyond the head the flow is 0. before,
    after (H, W, 3): generated pictures without and with the edit. mask (H, W): 1 where something covers the face, which
    is excluded from the fit. crop_scale: see `framing.ffhq_quad`.

    The head is modelled as a rigid shape: both components of the offset are linear in position and depth,
    p · (1, x, y, z). Gauss-Newton steps with Cauchy weights (STRAY) fit the warped `before` to `after`, both without
    their LIGHT; other changes, such as a smile, get low weights. The result is p_z · z alone, yaw and pitch, so that
    the outline of the head stays in place. Source: Baker and Matthews, "Lucas-Kanade 20 years on" (2004).
    """
    side = min(before.shape[0], _SIDE)
    grey_before, grey_after, covered = (
        np.asarray(cv2.resize(p, (side, side), interpolation=cv2.INTER_AREA), dtype=np.float32)
        for p in (luma(before), luma(after), mask)
    )
    weight = features_weight(side, crop_scale) * (1 - covered)
    z = head_depth(side, crop_scale)
    shape = _shape(z, crop_scale)
    motion = np.zeros((2, len(shape)))
    for blur, steps in _STEPS.items():
        source, target = (_structure(grey, blur * side) for grey in (grey_before, grey_after))
        for _ in range(steps):
            step = _step(source, target, np.einsum("ck,khw->hwc", motion, shape), shape, weight)
            motion = np.clip(motion + step, -MAX_MOTION, MAX_MOTION)
    rotation = motion[:, 3] * z[..., None]
    return np.asarray(rotation * (side / crop_scale), dtype=np.float32)


def _shape(z: NDArray[np.float32], crop_scale: float) -> NDArray[np.float32]:
    """1 and centred x, y and depth z at the pixels of a crop, (4, side, side) in pixels."""
    parts = np.broadcast_arrays(*places(len(z), crop_scale), z)
    whole = np.stack([np.ones(z.shape), *(part - part.mean() for part in parts)])
    return np.asarray(whole * (len(z) / crop_scale), dtype=np.float32)


def _structure(grey: NDArray[np.float32], blur: float) -> NDArray[np.float32]:
    """Band-pass filters a picture (H, W): blurs it and removes its light."""
    return blurred(grey, blur) - blurred(grey, LIGHT * grey.shape[0])


def _step(
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    flow: NDArray[np.float64],
    shape: NDArray[np.float32],
    weight: Mask,
) -> NDArray[np.float64]:
    """Gauss-Newton step (2, 4) of the motion that fits `source`, warped by the flow (H, W, 2), to `target`."""
    warped = warp(source, flow.astype(np.float32))
    error = target - warped
    slopes = np.stack([cv2.Scharr(warped, -1, *axis, scale=1 / 32) for axis in ((1, 0), (0, 1))])
    jacobian = (slopes[:, None] * shape).reshape(2 * len(shape), -1)
    weights = (weight / (1 + np.square(error / STRAY))).ravel()
    normal = (jacobian * weights) @ jacobian.T
    damping = np.diag(1e-4 * np.diag(normal) + 1e-6)
    return np.linalg.solve(normal + damping, jacobian @ (weights * error.ravel())).reshape(2, -1)


REGION = Pose()
