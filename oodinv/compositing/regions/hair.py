"""Region of the hair."""

from oodinv.compositing.regions.base import Region


class Hair(Region):
    """Region of the hair."""

    parts = ("hair",)


REGION = Hair()
