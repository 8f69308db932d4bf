"""Joins kept and generated parts by the mask alone."""

from oodinv.imaging.pixels import Levels, Mask


def join(crop: Levels, drawn: Levels, mask: Mask) -> Levels:
    """M·x + (1 − M)·g."""
    weight = mask[..., None]
    return weight * crop + (1 - weight) * drawn
