"""Detected faces and the interface of detectors."""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.quads import Points
from oodinv.imaging.pixels import Pixels


@dataclass(frozen=True, eq=False)
class Face:
    """A detected face in photo coordinates.

    points (5, 2): centre of the left eye, of the right eye, tip of the nose, left and right corner of the
    mouth, from which `ffhq_quad` computes the crop.
    landmarks (N, 2): all landmarks of the detector, 5 or 68. score in [0, 1].
    """

    points: Points
    landmarks: Points
    score: float
    detector: str


class Detector(Protocol):
    """Finds faces; implementations may be shared by threads."""

    def detect(self, pixels: Pixels) -> list[Face]:
        """Faces in a photo uint8 (H, W, 3), from left to right; an empty list if there is none."""
        ...


OVERVIEW = 960  # longest side, in pixels, of the copy in which faces are searched
FACE_SCORE = 0.7  # score below which nothing is called a face


def left_to_right(faces: list[Face]) -> list[Face]:
    """Faces by x of the middle of their FFHQ crops."""
    return sorted(faces, key=lambda face: float(ffhq_quad(face.points)[:, 0].mean()))


def bounded(pixels: Pixels, longest: int) -> tuple[Pixels, float]:
    """The photo, shrunk if it is larger than this, and its scale."""
    scale = min(1.0, longest / max(pixels.shape[:2]))
    if scale == 1.0:
        return pixels, 1.0
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8), scale
