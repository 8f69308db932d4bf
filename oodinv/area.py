"""Where an edit may change a photo: on the features, the face, the hair, or the whole crop.

The areas are made of ellipses that lie where FFHQ's alignment puts faces: eyes at 0.47 and mouth at 0.75 of the height.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.pixels import Flow, Levels, Mask, blurred, luma, smoothstep
from oodinv.recipe.edit import Area
from oodinv.residual import moved, soft

Ellipse = tuple[tuple[float, float], tuple[float, float]]
"""Centre, and half the width and height, of an FFHQ crop's side."""
FACE: Ellipse = ((0.5, 0.53), (0.29, 0.40))
"""What an edit of the face may change fully."""
FEATURES: tuple[Ellipse, Ellipse] = (((0.5, 0.53), (0.19, 0.27)), ((0.5, 0.745), (0.13, 0.07)))
"""Eyes, nose and mouth; and the mouth with its corners, where it is wide."""
HEAD: Ellipse = ((0.5, 0.53), (0.40, 0.54))
"""The head with all its hair, which reaches the border of the crop."""
WINDOW = 1 / 4
"""Of the crop's side: a change of hair is averaged over squares of this size."""
EVEN = 20.0
"""Grey levels: pixels whose brightness spreads less than this are of one kind, and change alike."""
ALIKE = 50.0
"""Grey levels: a pixel that the generator drew wrong by this much counts for about a third, by half as much fully."""
HAIR = (0.1, 0.4)
"""Changes below the first of these shares of what hair changes by are not hair's; those above the second are."""
DEEP = 64.0
"""Grey levels: what is darker, such as black hair, changes in proportion: lifted, it would get a veil."""
TINT = 1 / 16
"""Of the crop's side: standard deviation of the blur of what counts as a tint, which an expression has no need for."""
TONING = 80.0
"""Grey levels: changes well below are tones, which spare shadows; those well above draw something new."""
_DIM = 32.0  # grey levels: brightness up to which changes are compared as they are, above in proportion to it
_FADE = 1.35  # at this many times the ellipse's size, nothing changes any more


def confined(
    before: Levels, after: Levels, unedited: Levels, flow: Flow | None, area: Area, crop_scale: float
) -> Levels:
    """The edited composite as it is delivered: as it was before the edit outside an area.

    A generator changes the background along with the face; pasted back, that would show the crop's border. It changes
    the colour of hair, hands and background beside a face that turns, and of skin under hair that gets lighter. And it
    draws contours elsewhere than the photo has them, which would leave rims. Therefore around features and with a pose,
    what was there only moves along by `flow` (of `compose.carried`), and with a pose features too; hair only gets
    another colour (`hair_change`); and on a face, what lies beside the features changes as far as the generator had
    drawn what is there (`likeness`), and with an expression without a tint (`untinted`). Shadows keep their depth
    (`deep_kept`).
    unedited: what the generator drew before the edit. crop_scale: see `framing.ffhq_quad`.
    """
    size = before.shape[0]
    match area:
        case "crop":
            return after
        case "pose":
            return moved(before, flow)
        case "features":
            still = moved(before, flow)
            return still + features_weight(size, crop_scale)[..., None] * deep_kept(still, after - still)
        case "hair":
            change = (1 - features_weight(size, crop_scale)[..., None]) * (after - before)
            return before + reach_of(area, size, crop_scale)[..., None] * hair_change(before, change, unedited)
        case "face" | "expression":
            change = deep_kept(before, after - before)
            if area == "expression":
                change = untinted(change)
            known = np.maximum(likeness(before, unedited), features_weight(size, crop_scale))
            return before + (reach_of(area, size, crop_scale) * known)[..., None] * change


def likeness(before: Levels, unedited: Levels) -> Mask:
    """How well the generator drew each pixel before the edit, (H, W) in [0, 1]; ALIKE says how strict that is."""
    misfit = soft(np.abs(before - unedited).mean(axis=2))
    return np.asarray(np.exp(-((misfit / ALIKE) ** 4)), dtype=np.float32)


def deep_kept(before: Levels, change: Levels) -> Levels:
    """A change (H, W, 3) where black hair and shadows keep their depth: tones change them in proportion (`depth`)."""
    return np.asarray(change * tone_share(depth(before), luma(change))[..., None], dtype=np.float32)


def untinted(change: Levels) -> Levels:
    """A change (H, W, 3) without its tint, the part of its colour that is coarser than TINT; brightness stays.

    The whole face takes another complexion with a generator's smile, but lips and teeth are fine enough to stay.
    """
    colour = change - luma(change)[..., None]
    return np.asarray(change - blurred(colour, TINT * change.shape[0]), dtype=np.float32)


def depth(before: Levels) -> Mask:
    """Share of a tone that goes to each pixel, less than 1 where it is DEEP."""
    return np.asarray((luma(before) / DEEP).clip(0, 1), dtype=np.float32)


def tone_share(share: NDArray[np.float32], change: NDArray[np.float32]) -> Mask:
    """1 − t · (1 − share) with t = exp(−(change / TONING)²): tones get their share, what is drawn anew gets all."""
    return np.asarray(1 - np.exp(-np.square(change / TONING)) * (1 - share), dtype=np.float32)


def reach_of(area: Area, size: int, crop_scale: float) -> Mask:
    """How far anything may change or move, (size, size) in [0, 1]."""
    match area:
        case "crop":
            return np.ones((size, size), np.float32)
        case "face" | "expression" | "features" | "pose":
            return face_weight(size, crop_scale)
        case "hair":
            return face_weight(size, crop_scale, HEAD)


def places(size: int, crop_scale: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """x (size,) and y (size, 1) of the pixels of a crop, of the FFHQ crop's side."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    place = np.asarray(0.5 + crop_scale * (centres - 0.5), dtype=np.float32)
    return place, place[:, None]


def face_weight(size: int, crop_scale: float, ellipse: Ellipse = FACE) -> Mask:
    """1 on the face of a crop, falling to 0 around the hair, (size, size); or on another ellipse, and around that.

    crop_scale: see `framing.ffhq_quad`.
    """
    x, y = ((p - c) / half for p, c, half in zip(places(size, crop_scale), *ellipse, strict=True))
    distance = np.hypot(x, y)
    return smoothstep(np.asarray((_FADE - distance) / (_FADE - 1), dtype=np.float32))


def features_weight(size: int, crop_scale: float) -> Mask:
    """The same on eyes, nose and mouth."""
    return np.maximum(*(face_weight(size, crop_scale, ellipse) for ellipse in FEATURES))


# ---------------------------------------------------------------------------------------------------------
# Hair


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
    return even * (share * depth(before))[..., None]


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
