"""Hair dye: the photo's own hair in another colour.

Generators reach few hair colours from a given face: dark hair turns brown rather than grey. A dye needs no generator:
it gives the hair of the photo the mean and the spread of another colour, as "Color Transfer between Images" (Reinhard
et al., IEEE CG&A 2001) does with whole pictures. Pictures are float32 (H, W, 3) in grey levels, 0 to 255.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.matte import alpha_matte
from oodinv.compositing.regions.base import KEPT
from oodinv.faces.parts import PARTS, PartMap, part_weight
from oodinv.imaging.pixels import Levels, Mask

SPREAD = 0.5
"""Largest standard deviation of the logarithm of luminance of highlights of hair that becomes lighter."""
SHINE = 0.55
"""Standard deviation of the logarithm of luminance of hair that becomes darker: dark hair shines."""
FLOOR = 0.002
"""Luminance that is added before the logarithm, so that noise in black hair is not enhanced."""
LEAST = 1 / 500
"""Share of the crop below which there is too little hair to dye."""


@dataclass(frozen=True)
class Dye:
    """Colour of a dye, its levels (red, green, blue), and the share of it that is applied, in [0, 1]."""

    colour: tuple[int, int, int]
    amount: float


def dyed(photo: Levels, parts: PartMap, dye: Dye) -> Levels:
    """Dyes the hair of a crop (S, S, 3), and nothing else; parts: its label map. → (S, S, 3).

    Strands of hair that becomes lighter keep their ratios of luminance, up to SPREAD; dark hair gets the contrast
    SHINE.
    """
    hair = hair_matte(photo, parts)
    inside = hair > 0.8
    if inside.mean() < LEAST:
        return photo
    lab = cv2.cvtColor(photo / 255, cv2.COLOR_RGB2LAB)
    target = cv2.cvtColor(np.array([[dye.colour]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0]
    light = np.log(_luminance(lab[..., 0]) + FLOOR)
    darker = light[inside].mean() > np.log(_luminance(target[0]) + FLOOR)
    light -= light[inside].mean()
    contrast = (SHINE if darker else SPREAD) / max(float(light[inside].std()), 1e-6)
    highlights, shadows = (contrast, max(contrast, 1.0)) if darker else (min(contrast, 1.0), 1.0)
    wanted = _luminance(target[0]) * np.exp(np.where(light > 0, highlights, shadows) * light)
    lightness = _lightness(_below_white(wanted))
    chroma = np.minimum(lightness / max(target[0], 1.0), 1)  # highlights are white
    new = np.dstack([lightness, chroma * target[1], chroma * target[2]]).astype(np.float32)
    change = 255 * cv2.cvtColor(new, cv2.COLOR_LAB2RGB) - photo
    return np.asarray(photo + dye.amount * hair[..., None] * change, dtype=np.float32)


def hair_matte(photo: Levels, parts: PartMap) -> Mask:
    """Opacity of the hair at each pixel, (S, S) in [0, 1], without what edits keep, such as hats and glasses."""
    size = len(photo)
    label = (parts == PARTS.index("hair")).astype(np.float32)
    enlarged = np.asarray(cv2.resize(label, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    return np.asarray(alpha_matte(photo, enlarged) * (1 - part_weight(parts, KEPT, size)), dtype=np.float32)


def _luminance(lightness: NDArray[Any]) -> NDArray[np.float32]:
    """CIE lightness L* in [0, 100] → relative luminance in [0, 1]."""
    return np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3).astype(np.float32)


def _lightness(luminance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Relative luminance in [0, 1] → CIE lightness L* in [0, 100]."""
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, luminance * 903.3).astype(np.float32)


def _below_white(luminance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compresses luminance above 1/2 so that it stays below 1."""
    return np.where(luminance < 0.5, luminance, 1 - 0.5 * np.exp(1 - 2 * luminance))
