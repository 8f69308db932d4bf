"""Region of the face with its hair."""

from oodinv.compositing.regions.base import Region
from oodinv.faces.parts import FACE


class FaceRegion(Region):
    """Region of the face with its hair."""

    parts = (*FACE, "hair")


REGION = FaceRegion()
