"""Transfer of the residual x − g between crop and generated picture to the edited picture, warped by the edit's motion.

Crops are float32 (H, W, 3) in grey levels, 0 to 255.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.flow import warp
from oodinv.imaging.pixels import Flow, Levels, Mask, blurred, luma

COARSE = 1 / 32
"""Standard deviation, as a share of the crop's side, of the blur that separates colour (coarse) from detail (fine)."""
FINEST = 1 / 680
"""Standard deviation, as a share of the crop's side, of the blur that takes away the grid that generators draw."""
NEAR = 1 / 128
"""Standard deviation, as a share of the crop's side, of the blur of an edit's change."""
REPLACED, REPLACED_MOUTH = 25.0, 8.0
"""Grey levels: change by the edit at which the share of the residual that stays falls to 1/e, and that of the mouth."""
VISIBLE = 2.0
"""Grey levels: change by the edit below which optical flow is damped."""
_FLOW_SIDE = 256


def transferred_residual(
    crop: Levels,
    before: Levels,
    after: Levels,
    flow: Flow | None,
    detail: float,
    colour: float,
    mouth: Mask | float = 0.0,
) -> Levels:
    """Computes the residual to add to an edited generated picture. → (H, W, 3).

    exp(−(change / replaced)²) · (colour · coarse + detail · (fine − grid))

    The residual x − `before` is split into coarse and fine by a blur of COARSE. Both are warped by the flow
    (`optical_flow`; None: not warped), so that background uncovered by a turning head gets the colour of the background
    beside it. The structure of `after` that is finer than FINEST is the grid: photos have none, and the photo's own
    detail replaces it. With detail = colour = 1 the sum with `after` is the warped photo plus the edit's change, which
    is `after` − the warped `before`. Where that is large, as where lips become teeth, the residual is of something that
    isn't there any more, and is left out: beyond about REPLACED, and REPLACED_MOUTH within the mouth, where rows of
    teeth that don't match show through each other. mouth (H, W): weight of lips and teeth in [0, 1].
    """
    size = len(crop)
    change = np.abs(after - warp(before, flow)).mean(axis=2)
    replaced = REPLACED + (REPLACED_MOUTH - REPLACED) * mouth
    stays = np.exp(-np.square(blurred(np.asarray(change, np.float32), NEAR * size) / replaced))
    residual = warp(crop - blurred(before, FINEST * size), flow)
    coarse = _coarse(residual)
    fine = residual - coarse - (after - blurred(after, FINEST * size))
    return np.asarray(stays[..., None] * (colour * coarse + detail * fine), dtype=np.float32)


def optical_flow(before: Levels, after: Levels) -> Flow:
    """Estimates the optical flow from `after` back to `before`. → (h, w, 2) in pixels of a copy of about 256 pixels.

    It is damped where the edit changed less than about VISIBLE, and 0 without a change; smaller crops give (H, W, 2).
    `flow.resize_flow` scales it to the crop. Source: Farnebäck, "Two-frame motion estimation based on polynomial
    expansion" (2003).
    """
    shrink, grow = (max(1, round(r)) for r in (before.shape[0] / _FLOW_SIDE, _FLOW_SIDE / before.shape[0]))
    height, width = (side // shrink for side in before.shape[:2])
    a, b = (_grey(picture, (width * grow, height * grow)) for picture in (after, before))
    window = max(15, height * grow // 16)
    start = np.zeros((*a.shape, 2), dtype=np.float32)
    flow = cv2.calcOpticalFlowFarneback(a, b, start, 0.5, 4, window, 3, 7, 1.5, cv2.OPTFLOW_FARNEBACK_GAUSSIAN)
    flow = cv2.resize(np.asarray(flow, np.float32) / grow, (width, height), interpolation=cv2.INTER_AREA)
    change = cv2.resize(np.abs(after - before).mean(axis=2), (width, height), interpolation=cv2.INTER_AREA)
    damped = flow * (1 - np.exp(-np.square(soft(np.asarray(change, np.float32)) / VISIBLE)))[..., None]
    return np.asarray(soft(damped), dtype=np.float32)


def _grey(picture: Levels, size: tuple[int, int]) -> NDArray[np.uint8]:
    grey = luma(picture.clip(0, 255))
    how = cv2.INTER_CUBIC if size[1] >= grey.shape[0] else cv2.INTER_AREA
    return np.asarray(cv2.resize(grey, size, interpolation=how).clip(0, 255), dtype=np.uint8)


def _coarse(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blurs a picture (H, W) or (H, W, C) by COARSE."""
    return blurred(picture, COARSE * picture.shape[0])


def soft(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blurs a picture (H, W) or (H, W, C) by half of COARSE."""
    return blurred(picture, COARSE / 2 * picture.shape[0])
