"""Measures of faces without annotations: from five landmarks, and from the brightness of regions.

| measure | meaning |
|---|---|
| yaw | offset of the nose from the middle of the eyes to the picture's right, in eye distances |
| turn | absolute value of yaw |
| smile | width of the mouth in eye distances |
| pitch | height of the nose between eyes, 0, and mouth, 1; larger with the head bent down |
| hair | luma (BT.601) of the region above the forehead, 0 to 1 |
| forehead | luma of the forehead up to the hairline, 0 to 1 |
| light | luma of the face between eyes and mouth, 0 to 1 |
| background | luma beside the head, 0 to 1 |
"""

import numpy as np
from numpy.typing import NDArray

from oodinv.faces.detectors.base import Detector
from oodinv.faces.geometry import REGIONS, Box
from oodinv.faces.quads import Points
from oodinv.faces.selection import face_size
from oodinv.imaging.pixels import Pixels, luma

NAMES = ("yaw", "turn", "pitch", "smile", "hair", "forehead", "light", "background")


def of_points(points: Points) -> dict[str, float]:
    """Measures yaw, turn, pitch and smile on landmarks (5, 2): eyes, nose, corners of the mouth, left before right."""
    eye_left, eye_right, nose, mouth_left, mouth_right = points
    across = eye_right - eye_left
    distance = max(float(np.hypot(*across)), 1e-9)
    eyes = (eye_left + eye_right) / 2
    yaw = float((nose - eyes) @ across) / distance**2
    down = np.array([-across[1], across[0]])
    height = float(((mouth_left + mouth_right) / 2 - eyes) @ down)
    return {
        "yaw": yaw,
        "turn": abs(yaw),
        "pitch": float((nose - eyes) @ down) / height if height else 0.5,
        "smile": float(np.hypot(*(mouth_right - mouth_left))) / distance,
    }


def of_largest(detector: Detector, pixels: Pixels) -> dict[str, float] | None:
    """Measures the largest face of a picture uint8 (H, W, 3) by `of_points`; None if no face is found."""
    faces = detector.detect(pixels)
    return of_points(max(faces, key=face_size).points) if faces else None


def of_crop(crop: Pixels, crop_scale: float) -> dict[str, float]:
    """Measures hair, forehead, light and background on a crop uint8 (S, S, 3); crop_scale: see `framing.ffhq_quad`."""
    return {name: float(np.mean([_mean(crop, box, crop_scale) for box in boxes])) for name, boxes in REGIONS.items()}


def _mean(crop: Pixels, box: Box, crop_scale: float) -> float:
    """Mean brightness of a box in [0, 1]; a box outside a tighter crop is moved to its edge."""
    size = crop.shape[0]
    left, top, right, bottom = (np.clip((np.array(box) - 0.5) / crop_scale + 0.5, 0, 1) * size).round().astype(int)
    left, top = min(left, size - 1), min(top, size - 1)
    region: NDArray[np.uint8] = crop[top : max(bottom, top + 1), left : max(right, left + 1)]
    return float(luma(region.astype(np.float32)).mean()) / 255
