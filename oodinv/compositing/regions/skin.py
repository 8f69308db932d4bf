"""Region of the face without its hair."""

from oodinv.compositing.regions.base import Region
from oodinv.faces.parts import FACE


class Skin(Region):
    """Region of the face without its hair."""

    parts = FACE


REGION = Skin()
