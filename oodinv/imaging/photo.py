"""Decoded photos."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.formats import LOSSY
from oodinv.imaging.pixels import Pixels


@dataclass(frozen=True)
class JpegCoding:
    """Compression settings of a JPEG: a quantisation table of 64 numbers for each component, and chroma subsampling.

    subsampling: Pillow's number, 0 for 4:4:4, 1 for 4:2:2, 2 for 4:2:0.
    """

    tables: tuple[tuple[int, ...], ...]
    subsampling: int


@dataclass(frozen=True, eq=False)
class Photo:
    """A decoded photo, with everything needed to write it again.

    pixels uint8 (H, W, 3), upright. alpha uint8 (H, W) or None; transparent pixels keep their colours, because
    blending with a background can't be undone. deep: if requested and the file has 16 bits per channel, the same
    picture, uint16 (H, W, 3), or (H, W, 4) with transparency; used for writing PNG. grey: the file had one colour
    channel.

    icc: the profile of pixels. chunks: the chunks of a PNG about its display (`png.SHOWN_BY`), by name. dpi:
    pixels per inch, across and down. exif, xmp: blocks adapted to the upright pixels, without thumbnails and
    previews. iptc: captions and credits of a JPEG (IPTC-IIM). comments of a JPEG or GIF. texts of a PNG by keyword.
    format: Pillow's name. jpeg: compression settings. orientation: of the stored pixels, 1 to 8, which was undone.
    disputed: another orientation that the file states; see `metadata.orientations_of`.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
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
