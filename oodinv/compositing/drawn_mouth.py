"""Colours of a mouth that a generator draws anew: lips and teeth get those of the photo.

Pictures are float32 (H, W, 3) in grey levels, 0 to 255.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.regions.base import Place
from oodinv.faces.parts import PARTS, PartMap, mouth_is_open, part_weight
from oodinv.imaging.flow import warp
from oodinv.imaging.pixels import Flow, Levels, Mask, blurred, blurred_within, luma

NEAR = 1 / 16
"""Standard deviation, as a share of the crop's side, of the blur that gives the colour of the skin around a mouth."""
APART = 36.0
"""Square of a distance in CIE a*, b*: below it, lips can hardly be told from skin by their colour."""


def with_drawn_mouth(
    residual: Levels, crop: Levels, before: Levels, after: Levels, flow: Flow | None, place: Place
) -> Levels:
    """Residual to add to the generated picture `after`, with that of a mouth that is drawn anew. → (H, W, 3).

    before: the generated picture without the edit, which moves by the flow. Without a drawn mouth, `residual` is
    returned.
    """
    parts = tuple({"lip", "mouth"} & set(place.drawn))
    if not parts:
        return residual
    mouth = replace(place, drawn=parts).drawn_weight(len(crop), flow)
    own = _mouth_residual(crop, before, after, flow, place.parts, mouth)
    return np.asarray(residual + mouth[..., None] * (own - residual), dtype=np.float32)


def _mouth_residual(
    crop: Levels, before: Levels, after: Levels, flow: Flow | None, parts: PartMap, mouth: Mask
) -> Levels:
    """Residual of a drawn mouth, of weight `mouth` (H, W) in [0, 1]. → (H, W, 3).

    Lips are told from teeth and skin by their chroma, and shifted to the mean colour of the photo's lips. Teeth are
    shifted as the photo's own, or, where it shows none, get the lightness that the skin around the mouth gets.
    """
    size = len(crop)
    lips, teeth = (_label(parts, name, size) for name in ("lip", "mouth"))
    skin = part_weight(parts, ("skin", "nose"), size) * (1 - mouth)
    around = warp(blurred_within(crop - before, skin, NEAR * size), flow)
    if mouth_is_open(parts):
        inside = warp(part_weight(parts, ("mouth",), size), flow)[..., None]
        rest = around + inside * (_mean(crop, teeth) - _mean(before, teeth) - around)
    else:
        rest = np.repeat(luma(around)[..., None], 3, axis=2)
    redness = _redness(before, after, lips, skin) * mouth
    shift = _mean(crop, lips) - _mean(after, redness)
    return np.asarray(rest + redness[..., None] * (shift - rest), dtype=np.float32)


def _label(parts: PartMap, name: str, size: int) -> Mask:
    """1 on a part, 0 elsewhere, (size, size)."""
    label = (parts == PARTS.index(name)).astype(np.float32)
    return np.asarray(cv2.resize(label, (size, size), interpolation=cv2.INTER_NEAREST), dtype=np.float32)


def _redness(before: Levels, after: Levels, lips: Mask, skin: Mask) -> Mask:
    """Chroma of `after` on the way from that of the skin, 0, to that of the lips, 1. → (H, W) in [0, 1]."""
    near = skin * blurred(lips, NEAR * len(lips))
    lip, beside = (_mean(_chroma(before), weight) for weight in (lips, near))
    axis = lip - beside
    along = (_chroma(after) - beside) @ axis / (axis @ axis + APART)
    return np.asarray(along.clip(0, 1), dtype=np.float32)


def _chroma(picture: Levels) -> NDArray[np.float32]:
    """CIE a* and b*, (H, W, 2)."""
    lab = cv2.cvtColor(np.clip(picture / 255, 0, 1).astype(np.float32), cv2.COLOR_RGB2LAB)
    return np.asarray(lab[..., 1:], dtype=np.float32)


def _mean(picture: NDArray[np.float32], weight: Mask) -> NDArray[np.float32]:
    """Mean of a picture (H, W, C) by weight (H, W); 0 where there is none. → (C,)."""
    total = (picture * weight[..., None]).sum(axis=(0, 1))
    return np.asarray(total / max(float(weight.sum()), 1e-6), dtype=np.float32)
