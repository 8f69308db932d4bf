"""Region of the face without its hair."""

from oodinv.compositing.regions.base import Region
from oodinv.faces.parts import FACE_PARTS


class Skin(Region):
    """Region of the face without its hair."""

    parts = FACE_PARTS


REGION = Skin()
