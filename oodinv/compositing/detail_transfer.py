"""Transfer of the residual x − g between crop and generated picture to the edited picture, warped by the edit's motion.

Crops are float32 (H, W, 3) in grey levels, 0 to 255.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.faces.parts import FACE_PARTS, PartMap, part_weight
from oodinv.imaging.flow import warp
from oodinv.imaging.pixels import Flow, Levels, Mask, blurred, blurred_within, fading, luma

COARSE = 1 / 32
"""Standard deviation, as a share of the crop's side, of the blur that separates colour (coarse) from detail (fine)."""
NEAR = 1 / 128
"""Standard deviation, as a share of the crop's side, of the blur of differences between photo and generated picture."""
AROUND = 1 / 64
"""Standard deviation, as a share of the crop's side, of the blur that gives the change where faces are unlike."""
UNLIKE = 12.0
"""Grey levels: difference in structure at which the weight of a generated picture's change falls to 1/e."""
OUTLINE = 1 / 20
"""Standard deviation, as a share of the crop's side, of the blur that fades changes out towards the outline."""
TONE_FLOOR = 16.0
"""Grey levels that are added to the denominator of the contrast of hair, which limits it for dark hair."""
BESIDE = 80.0
"""Grey levels: difference from the tone of hair at which the change of a pixel falls to 1/e."""
VISIBLE = 2.0
"""Grey levels: change by the edit below which optical flow is damped."""
_FLOW_SIDE = 256


def transferred_residual(
    crop: Levels,
    before: Levels,
    flow: Flow | None,
    detail: float,
    colour: float,
    redrawn: Levels | float = 0.0,
    drawn: Mask | float = 0.0,
) -> Levels:
    """Computes the residual to add to an edited generated picture. → (H, W, 3).

    colour · coarse + detail · (1 − drawn) · (fine − redrawn)

    The residual x − `before` is split into coarse and fine by a blur of COARSE. Both are warped by the flow
    (`optical_flow`; None: not warped), so that background uncovered by a turning head gets the colour of the background
    beside it. redrawn (H, W, 3): see `redrawn_detail`; with detail = colour = 1, the sum with the edited picture is the
    warped photo plus the blurred change. drawn (H, W): weight in [0, 1] of parts whose detail is the generator's.
    """
    residual = crop - before
    coarse = _coarse(residual)
    fine = residual - coarse
    if flow is not None:
        coarse, fine = warp(coarse, flow), warp(fine, flow)
    own = detail * (1 - np.atleast_3d(drawn))
    return np.asarray(colour * coarse + own * (fine - redrawn), dtype=np.float32)


def redrawn_detail(
    crop: Levels, before: Levels, after: Levels, flow: Flow | None, parts: PartMap, blur: float
) -> Levels:
    """Finds the detail, such as hairs and pores, that a generator draws anew with every edit. → (H, W, 3).

    Apart from motion, an edit changes `after` − the warped `before`. Returned is this change minus its blurred version,
    which is what the edit calls for: within hair, which changes only in tone, blurred by COARSE; within the face, by
    the standard deviation `blur` in pixels. Neither spreads to the other, or to the background, and teeth keep their
    colour. Where the generated face is unlike the photo, as in beards and at hairlines, the blur is wider (AROUND).
    Towards the outline of the face, which stays in place, the change fades. Hair that becomes lighter or darker gains
    or loses contrast in proportion.
    """
    size = len(crop)
    change = after - warp(before, flow)
    hair, face = (part_weight(parts, names, size) for names in (("hair",), FACE_PARTS))
    alike = warp(_likeness(crop, before), flow)
    around = blurred_within(change, face * alike, max(blur, AROUND * size))
    kept = around + alike[..., None] * (blurred_within(change, face, blur) - around)
    kept *= fading(face, OUTLINE * size)[..., None]
    kept += hair[..., None] * (_toned(warp(crop, flow), change, hair) - kept)
    kept *= 1 - warp(part_weight(parts, ("mouth",), size), flow)[..., None]
    return np.asarray(change - kept, dtype=np.float32)


def _toned(photo: Levels, change: Levels, hair: Mask) -> Levels:
    """Computes the change of hair (H, W, 3): a blurred change of tone, and strands with the contrast of the new tone.

    Background between strands, which is much lighter or darker than the hair around, changes less (BESIDE).
    """
    tone, shift = (blurred_within(picture, hair, COARSE * len(hair)) for picture in (photo, change))
    before, after = luma(tone), luma(tone + shift).clip(0)
    strands = luma(photo) - before
    lighter = shift + ((after - before) / (before + TONE_FLOOR) * strands)[..., None]
    return np.asarray(lighter * np.exp(-np.square(strands / BESIDE))[..., None], dtype=np.float32)


def _likeness(crop: Levels, generated: Levels) -> Mask:
    """Likeness of a generated picture to the crop, (H, W) in [0, 1], where colour and light are left out."""
    residual = crop - generated
    structure = np.abs(residual - _coarse(residual)).mean(axis=2)
    error = blurred(np.asarray(structure, dtype=np.float32), NEAR * len(crop))
    return np.asarray(blurred(np.exp(-np.square(error / UNLIKE)), NEAR / 2 * len(crop)), dtype=np.float32)


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
