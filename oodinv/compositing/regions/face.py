"""Region of the face with its hair."""

from oodinv.compositing.regions.base import Region
from oodinv.faces.parts import FACE_PARTS


class FaceRegion(Region):
    """Region of the face with its hair."""

    parts = (*FACE_PARTS, "hair")


REGION = FaceRegion()
