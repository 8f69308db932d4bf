"""The face-alignment package: 68 landmarks a face."""

import pickle
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from oodinv.errors import MissingWeights, WeightsError
from oodinv.faces.detectors.base import FACE_SCORE, OVERVIEW, Face, bounded, left_to_right
from oodinv.faces.quads import Points
from oodinv.imaging.pixels import Pixels

NETWORKS = ("s3fd", "fan-2d")
"""Names in the catalog."""


class FaceAlignment:
    """68 landmarks by the face-alignment package (S3FD, FAN), with networks of the catalog."""

    name: str = "face-alignment"

    def __init__(self, networks: Sequence[Path], device: str) -> None:
        """networks: files of S3FD and FAN, named as the package names them. device: as torch names it, such as cuda:0.

        Raises:
            WeightsError: a network is damaged, or the package wants another.
        """
        import face_alignment  # takes seconds, and few runs need it

        landmarks = face_alignment.LandmarksType.TWO_D
        try:
            with _only(networks):
                # Compiling would cost every first run minutes to save each photo a fraction of a second.
                self._network = face_alignment.FaceAlignment(landmarks, device=device, compile=False)
        except (OSError, RuntimeError, pickle.UnpicklingError) as error:
            names = " or ".join(str(path) for path in networks)
            raise WeightsError(
                f"{names} can't be used by face-alignment ({error}); remove them to have them fetched again, or use "
                "--detector yunet"
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


@contextmanager
def _only(networks: Sequence[Path]) -> Iterator[None]:
    """Makes these files the ones that torch's hub has, so that the package finds them there and fetches nothing."""
    import torch

    before = torch.hub.get_dir()
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Path(folder) / "checkpoints"
        checkpoints.mkdir()
        for path in networks:
            try:
                (checkpoints / path.name).symlink_to(path.resolve())
            except OSError:  # a system without links
                shutil.copyfile(path, checkpoints / path.name)
        torch.hub.set_dir(folder)
        try:
            yield
        finally:
            torch.hub.set_dir(before)


def load(fetch: Callable[[str], Path], device: str) -> FaceAlignment:
    """For `load_detector`.

    Raises:
        MissingWeights: a network isn't available. WeightsError: as `FaceAlignment`.
    """
    try:
        networks = [fetch(name) for name in NETWORKS]
    except MissingWeights as error:
        raise MissingWeights(f"{error}; or use --detector yunet") from error
    return FaceAlignment(networks, device)


def face_of_68(landmarks: Points, score: float) -> Face:
    """Face from 68 landmarks (68, 2) counted from pixel centres, in iBUG's order.

    Eyes are the means of points 36–41 and 42–47, mouth corners points 48 and 54, as in FFHQ.
    """
    landmarks = np.asarray(landmarks, dtype=np.float64) + 0.5
    eyes = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    points = np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]])
    return Face(points, landmarks, score, "face-alignment")
