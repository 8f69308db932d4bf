"""The face-alignment package: 68 landmarks a face."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from oodinv.errors import MissingWeights
from oodinv.faces.detectors.base import FACE_SCORE, OVERVIEW, Face, bounded, left_to_right
from oodinv.faces.quads import Points
from oodinv.imaging.pixels import Pixels


class FaceAlignment:
    """68 landmarks by the face-alignment package (S3FD, FAN), which downloads its networks on first use."""

    name: str = "face-alignment"

    def __init__(self, device: str) -> None:
        """device: as torch names it, such as cpu or cuda:0.

        Raises:
            MissingWeights: the networks can't be downloaded.
        """
        import face_alignment  # takes seconds, and few runs need it

        landmarks = face_alignment.LandmarksType.TWO_D
        try:
            # Compiling would cost every first run minutes to save each photo a fraction of a second.
            self._network = face_alignment.FaceAlignment(landmarks, device=device, compile=False)
        except OSError as error:
            raise MissingWeights(
                f"face-alignment can't download its networks ({error}); connect once, or use --detector yunet"
            ) from error
        self._lock = threading.Lock()

    def detect(self, pixels: Pixels) -> list[Face]:
        """Faces in a photo uint8 (H, W, 3), from left to right; an empty list if there is none.

        Boxes are searched in a copy of bounded size, landmarks in the photo itself.
        """
        overview, scale = bounded(pixels, OVERVIEW)
        with self._lock:
            boxes = self._network.face_detector.detect_from_image(overview)
            boxes = [np.append(np.asarray(box[:4]) / scale, box[4]) for box in boxes if box[4] >= FACE_SCORE]
            found = self._network.get_landmarks_from_image(pixels, detected_faces=boxes) if boxes else []
        faces = [face_of_68(landmarks, float(box[4])) for landmarks, box in zip(found, boxes, strict=True)]
        return left_to_right(faces)


def load(fetch: Callable[[str], Path], device: str) -> FaceAlignment:  # noqa: ARG001
    """For `load_detector`."""
    return FaceAlignment(device)


def face_of_68(landmarks: Points, score: float) -> Face:
    """Face from 68 landmarks (68, 2) counted from pixel centres, in iBUG's order.

    Eyes are the means of points 36–41 and 42–47, mouth corners points 48 and 54, as in FFHQ.
    """
    landmarks = np.asarray(landmarks, dtype=np.float64) + 0.5
    eyes = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    points = np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]])
    return Face(points, landmarks, score, "face-alignment")
