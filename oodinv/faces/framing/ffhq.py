"""The framing of FFHQ, on which the published generators were trained."""

import numpy as np

from oodinv.faces.framing.base import Framing
from oodinv.faces.quads import Points, quarter_turn, square


def ffhq_quad(points: Points, crop_scale: float = 1.0) -> Points:
    """Oriented square around a face: five points (5, 2) → corners (4, 2).

    points: see `Framing`; the nose is not used. crop_scale below 1 shrinks the square about its centre.
    Source: the FFHQ data set's `recreate_aligned_images`.
    """
    eye_left, eye_right, _, mouth_left, mouth_right = points
    eyes = (eye_left + eye_right) / 2
    eye_to_eye = eye_right - eye_left
    eye_to_mouth = (mouth_left + mouth_right) / 2 - eyes
    direction = eye_to_eye - quarter_turn(eye_to_mouth)
    length = max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
    x = direction * (length * crop_scale / max(np.hypot(*direction), 1e-9))
    return square(eyes + eye_to_mouth * 0.1, x)


FFHQ = Framing("ffhq", ffhq_quad)
