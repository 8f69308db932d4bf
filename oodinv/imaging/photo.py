"""A decoded photo, with what its file needs to be written again."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.formats import LOSSY
from oodinv.imaging.pixels import Pixels


@dataclass(frozen=True)
class JpegCoding:
    """How a JPEG was compressed: a quantisation table of 64 numbers for each component, and chroma subsampling.

    subsampling: as Pillow counts it, 0 for 4:4:4, 1 for 4:2:2, 2 for 4:2:0.
    """

    tables: tuple[tuple[int, ...], ...]
    subsampling: int


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo and what its file needs to be written again.

    pixels uint8 (H, W, 3), upright. alpha uint8 (H, W) or None; pixels under it keep the colours that the
    file has there, since blending them over a background could not be undone on writing. deep: where it was asked for
    and the file has 16 bits a channel, the same picture unrounded, uint16 (H, W, 3), or (H, W, 4) with transparency;
    a PNG is then written of it. grey: the file had one colour channel.

    icc: the profile of pixels. chunks: how a PNG says that they are to be shown (`png.SHOWN_BY`), by name. dpi:
    pixels an inch, across and down. exif, xmp: blocks that agree with the upright pixels, without thumbnails and
    previews. comments of a JPEG or GIF. texts of a PNG by keyword. format: Pillow's name. jpeg: how it was compressed.
    orientation: how the file's pixels were stored, 1 to 8, which was undone. disputed: another orientation that the
    file states; see `metadata.orientations_of`.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    format: str = "PNG"
    grey: bool = False
    deep: NDArray[np.uint16] | None = None
    chunks: dict[bytes, bytes] = field(default_factory=dict)
    dpi: tuple[float, float] | None = None
    comments: tuple[bytes, ...] = ()
    texts: dict[str, str] = field(default_factory=dict)
    jpeg: JpegCoding | None = None
    orientation: int = 1
    disputed: int | None = None

    @property
    def suffix(self) -> str:
        """Suffix to write this photo under: lossy stays lossy (.jpg), everything else becomes .png."""
        return ".jpg" if self.format in LOSSY and self.alpha is None else ".png"
