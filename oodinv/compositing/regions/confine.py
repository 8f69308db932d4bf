"""Where an edit may change a photo: on the features, the face, the hair, or the whole crop."""

import numpy as np

from oodinv.compositing.regions.face import likeness, untinted
from oodinv.compositing.regions.hair import hair_change
from oodinv.compositing.tones import deep_kept
from oodinv.faces.geometry import HEAD, face_weight, features_weight
from oodinv.imaging.flow import moved
from oodinv.imaging.pixels import Flow, Levels, Mask
from oodinv.recipe.edit import Area


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


def reach_of(area: Area, size: int, crop_scale: float) -> Mask:
    """How far anything may change or move, (size, size) in [0, 1]."""
    match area:
        case "crop":
            return np.ones((size, size), np.float32)
        case "face" | "expression" | "features" | "pose":
            return face_weight(size, crop_scale)
        case "hair":
            return face_weight(size, crop_scale, HEAD)
