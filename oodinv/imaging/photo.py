"""A decoded photo, with what its file needs to be written again."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.pixels import Pixels


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo and what its file needs to be written again.

    pixels uint8 (H, W, 3), upright. alpha uint8 (H, W) or None; pixels under it keep the colours that the
    file has there, since blending them over a background could not be undone on writing. exif: a block with
    orientation 1. icc: the profile of pixels. xmp: an XMP packet. format: Pillow's name. grey: the file had one
    colour channel. deep: where it was asked for and the file has 16 bits a channel, the same picture unrounded,
    uint16 (H, W, 3), or (H, W, 4) with transparency; a PNG is then written of it.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    format: str = "PNG"
    grey: bool = False
    deep: NDArray[np.uint16] | None = None

    @property
    def suffix(self) -> str:
        """Suffix to write this photo under: lossy stays lossy (.jpg), everything else becomes .png."""
        return ".jpg" if self.format in ("JPEG", "MPO") and self.alpha is None else ".png"
