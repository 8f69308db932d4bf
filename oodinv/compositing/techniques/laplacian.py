"""Blending by Laplacian pyramids."""

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.techniques import mask as by_mask
from oodinv.imaging.pixels import Levels, Mask


def join(crop: Levels, generated: Levels, mask: Mask) -> Levels:
    """Blends each octave with the mask at the same octave, so that coarse structure gets wide seams. → (H, W, 3).

    Source: Burt and Adelson, "A multiresolution spline with application to image mosaics" (1983).
    """
    octaves = max(1, int(np.log2(min(mask.shape))) - 2)
    masks = _gaussians(mask, octaves)
    triples = zip(_laplacians(crop, octaves), _laplacians(generated, octaves), masks, strict=True)
    bands = [by_mask.join(*octave) for octave in triples]
    joined = bands.pop()
    while bands:
        band = bands.pop()
        joined = band + _expand(joined, band)
    return joined


def _gaussians(picture: NDArray[np.float32], octaves: int) -> list[NDArray[np.float32]]:
    levels = [picture]
    for _ in range(octaves):
        levels.append(np.asarray(cv2.pyrDown(levels[-1]), dtype=np.float32))
    return levels


def _laplacians(picture: Levels, octaves: int) -> list[Levels]:
    """Differences of neighbouring octaves, from fine to coarse, then the coarsest octave."""
    levels = _gaussians(picture, octaves)
    return [fine - _expand(coarse, fine) for fine, coarse in itertools.pairwise(levels)] + levels[-1:]


def _expand(coarse: Levels, like: Levels) -> Levels:
    return np.asarray(cv2.pyrUp(coarse, dstsize=like.shape[1::-1]), dtype=np.float32)
