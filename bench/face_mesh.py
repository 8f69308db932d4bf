"""Mouth and yaw by MediaPipe's 468 landmarks: labels for a fit of directions, and a judge that is not YuNet.

    python bench/face_mesh.py UTKFACE --limit 3000 > recipes/directions/utk-mouths.csv

Prints CSV: file, mouth_width in distances between the eyes' middles. MediaPipe carries its networks in its wheel; of
what it asks for beside them, this is needed:
    pip install --no-deps mediapipe==0.10.14
    pip install absl-py attrs flatbuffers "protobuf<5" matplotlib
"""

import argparse
import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oodinv.directions import measures
from oodinv.errors import ImageError
from oodinv.faces.align import align
from oodinv.faces.detectors.yunet import Yunet
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.selection import LARGEST
from oodinv.imaging.decode import read_photo
from oodinv.imaging.pixels import Pixels, resize_pixels
from oodinv.runs.collect import collect
from oodinv.runs.sources.base import Job
from oodinv.weights.pull import pull
from oodinv.workflows.encode import sample


class Seen(NamedTuple):
    """Measures of a face by its landmarks.

    width, opening: of the mouth from corner to corner, and between the lips, in distances between the eyes' middles.
    yaw: of the head, in degrees to the picture's right.
    """

    width: float
    opening: float
    yaw: float


Mesh = Callable[[Pixels], Seen]

LEFT_EYE, RIGHT_EYE, NOSE, MOUTH = (33, 133), (362, 263), 1, (61, 291)
"""Landmarks at the corners of eyes and mouth and at the tip of the nose, by MediaPipe's numbers; left and right as the
picture shows them."""

UPPER_LIP, LOWER_LIP = 13, 14
"""Landmarks at the middles of the lips' inner edges."""

SIDE = 256
"""Pixels of the crop that is looked at; smaller ones are enlarged."""


def is_installed() -> bool:
    try:
        import mediapipe  # noqa: F401
    except ImportError:
        return False
    return True


def load() -> Mesh:
    """Loads the landmark network; returns a function of a crop uint8 (S, S, 3), whose result is NaN without a face."""
    from mediapipe.python.solutions.face_mesh import FaceMesh

    network = FaceMesh(static_image_mode=True, max_num_faces=1, min_detection_confidence=0.3)

    def measure(crop: Pixels) -> Seen:
        seen = network.process(resize_pixels(crop, SIDE)).multi_face_landmarks
        return seen_in(np.array([[p.x, p.y, p.z] for p in seen[0].landmark])) if seen else Seen(*[np.nan] * 3)

    return measure


def seen_in(landmarks: NDArray[np.float64]) -> Seen:
    """Measures a face by landmarks (468, 3) in any unit: x and y of a square picture, and depth, less in front."""
    across = landmarks[RIGHT_EYE[1]] - landmarks[LEFT_EYE[0]]
    yaw = np.degrees(np.arctan2(across[2], np.linalg.norm(across[:2])))
    landmarks = landmarks[:, :2]
    left, right = (landmarks[list(eye)].mean(axis=0) for eye in (LEFT_EYE, RIGHT_EYE))
    width = measures.of_points(np.array([left, right, landmarks[NOSE], *landmarks[list(MOUTH)]]))["smile"]
    opening = np.linalg.norm(landmarks[UPPER_LIP] - landmarks[LOWER_LIP]) / np.linalg.norm(left - right)
    return Seen(width, float(opening), float(yaw))


def labels(jobs: list[Job], detector: Yunet, mesh: Mesh) -> Iterator[tuple[str, float]]:
    """File and mouth width of each photo that has a face, in order."""
    for job in jobs:
        try:
            face = align(read_photo(job.path).pixels, detector, SIDE, ffhq_quad, LARGEST).faces[0]
        except ImageError:
            continue
        width = mesh(face.crop).width
        if np.isfinite(width):
            yield job.name + job.path.suffix, width


def main() -> None:
    parser = argparse.ArgumentParser(description="Labels photos with the width of the mouth.")
    parser.add_argument("folder", type=Path, help="folder of photos, one face each")
    parser.add_argument("--limit", type=int, help="photos at most: those that a fit with the same limit takes")
    options = parser.parse_args()
    jobs = sample(collect([options.folder]), options.limit)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["file", "mouth_width"])
    table.writerows((file, f"{width:.3f}") for file, width in labels(jobs, Yunet(pull("yunet"), quick=True), load()))


if __name__ == "__main__":
    main()
