"""Blending by the mask alone."""

from oodinv.imaging.pixels import Levels, Mask


def join(crop: Levels, generated: Levels, mask: Mask) -> Levels:
    """M·x + (1 − M)·g, (H, W, 3)."""
    weight = mask[..., None]
    return weight * crop + (1 - weight) * generated
