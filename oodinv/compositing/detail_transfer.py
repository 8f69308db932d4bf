"""What a generator lost of a crop, x − g, given back to an edited picture: colours and detail, moved along.

Crops are float32 (H, W, 3) in grey levels, 0 to 255.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.flow import moved
from oodinv.imaging.pixels import Flow, Levels, Mask, blurred, luma

COARSE = 1 / 32
"""Of the crop's side: standard deviation of the blur that parts colour (coarser) from detail (finer)."""
MISMATCH = 12.0
"""Grey levels: where detail that was moved along with an edit misfits by this much, about a third of it is used."""
VISIBLE = 2.0
"""Grey levels: a motion counts where the edit changed more than about this."""
_FLOW_SIDE = 256
_DARK = 4.0  # grey levels: added to both parts of a ratio, so that black has one


def lost(crop: Levels, before: Levels, after: Levels, flow: Flow | None, detail: float, colour: float) -> Levels:
    """What x − g of the unedited inversion can give back to the edited picture: colours and detail, moved along.

    The residual x − `before` is parted by a blur of COARSE. Both parts move as the edit moved the face (flow, of
    `motion`; None without one), so that what a turned face uncovers gets the colour of the background beside it.
    The coarse part, where it darkens, does so in proportion (`shade`). The fine part fades where it no longer fits
    (`trust`): a smile takes skin along, but doesn't leave the old mouth in the new one.
    """
    residual = crop - before
    tint = _coarse(residual)
    fine = residual - tint
    if flow is not None:
        before = moved(before, flow)
        tint = moved(tint, flow)
        fine = moved(fine, flow) * trust(before, after)[..., None]
    tint = np.where(tint < 0, tint * shade(before, after), tint)
    return np.asarray(colour * tint + detail * fine, dtype=np.float32)


def shade(before: Levels, after: Levels) -> Levels:
    """By how many times an edit made each value brighter, (H, W, 3); no more than its surroundings.

    A photo darker than what the generator drew, (1 − d) · g, stays so after an edit: −d · g grows and shrinks with g.
    Otherwise dark hair that gets darker would turn black, and that which gets lighter get a veil.
    """
    pairs = ((after, before), (_coarse(after), _coarse(before)))
    here, around = ((a.clip(0) + _DARK) / (b.clip(0) + _DARK) for a, b in pairs)
    return np.minimum(here, around)


def motion(before: Levels, after: Levels) -> Flow:
    """Where each pixel of `after` comes from in `before`, for about 256 pixels where crops are larger; 0 if unchanged.

    Optical flow by polynomial expansion (Farnebäck, 2003), at about 256 pixels, damped where the edit changed no more
    than VISIBLE. `enlarged` makes it fit a larger crop.
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


def trust(drawn: Levels, after: Levels) -> Mask:
    """How well structure that moved along fits the edited picture, (H, W) in [0, 1]; colour may change freely."""
    misfit = drawn - after
    structure = np.abs(misfit - _coarse(misfit)).mean(axis=2)
    return np.asarray(np.exp(-np.square(soft(structure) / MISMATCH)), dtype=np.float32)


def _grey(picture: Levels, size: tuple[int, int]) -> NDArray[np.uint8]:
    grey = luma(picture.clip(0, 255))
    how = cv2.INTER_CUBIC if size[1] >= grey.shape[0] else cv2.INTER_AREA
    return np.asarray(cv2.resize(grey, size, interpolation=how).clip(0, 255), dtype=np.uint8)


def _coarse(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colour and light of a picture (H, W) or (H, W, C), without detail; COARSE says what parts them."""
    return blurred(picture, COARSE * picture.shape[0])


def soft(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """The picture (H, W) or (H, W, C) blurred half as much."""
    return blurred(picture, COARSE / 2 * picture.shape[0])
