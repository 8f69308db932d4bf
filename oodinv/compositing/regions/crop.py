"""Region of the whole crop but for its kept parts."""

from oodinv.compositing.regions.base import Region
from oodinv.faces.parts import PARTS


class CropRegion(Region):
    """Region of the whole crop."""

    parts = PARTS


REGION = CropRegion()
