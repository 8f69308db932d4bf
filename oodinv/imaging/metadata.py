"""EXIF blocks, ICC profiles and XMP packets of photos."""

import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from oodinv.imaging.pixels import Number

_ORIENTATION = 0x0112
JPEG_EXIF_BYTES = 65_533  # bytes: what one segment of a JPEG holds
PNG_XMP = "XML:com.adobe.xmp"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_XMP_BYTES = 65_533 - len(_JPEG_XMP)
"""The longest XMP packet that fits a JPEG without extensions."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TIFF_DESCRIPTIVE = frozenset({270, 271, 272, 282, 283, 296, 305, 306, 315, 33432})
_EXIF_FOLDERS = (0x8769, 0x8825)  # camera settings, place


def orientation_of(picture: Image.Image) -> int:
    """EXIF orientation; 1 where the tag is missing or no number."""
    value = picture.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) else 1


def upright(pixels: NDArray[Number], orientation: int) -> NDArray[Number]:
    """Undoes EXIF orientation 1 to 8 on (H, W) or (H, W, C); other values count as 1.

    Source: Exif 2.32, tag 0x0112: the value says where row 0 and column 0 are seen.
    """
    if not 2 <= orientation <= 8:
        return pixels
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def exif_of(picture: Image.Image) -> bytes | None:
    """EXIF block with orientation 1. Of TIFF, which has it among its own tags, the descriptive ones."""
    block = picture.info.get("exif")
    if isinstance(block, bytes):
        return _reset_orientation(block)
    tags = picture.getexif()
    kept = Image.Exif()
    kept.update({tag: value for tag, value in tags.items() if tag in _TIFF_DESCRIPTIVE})
    for folder in _EXIF_FOLDERS:
        if tags.get_ifd(folder):
            kept[folder] = dict(tags.get_ifd(folder))
    return kept.tobytes() if kept else None


def xmp_of(picture: Image.Image) -> bytes | None:
    """The XMP packet; older versions of Pillow keep that of a PNG as text."""
    found = picture.info.get("xmp") or picture.info.get(PNG_XMP)
    found = found.encode() if isinstance(found, str) else found
    return found if isinstance(found, bytes) else None


def _reset_orientation(block: bytes) -> bytes:
    """The same block with orientation 1 written in place: maker notes and offsets survive untouched."""
    start = 6 if block.startswith(b"Exif\0\0") else 0
    endian = {b"II": "<", b"MM": ">"}.get(block[start : start + 2])
    if endian is None or len(block) < start + 8:
        return block
    patched = bytearray(block)
    entry = start + struct.unpack_from(f"{endian}I", block, start + 4)[0]
    if entry + 2 > len(block):
        return block
    (count,) = struct.unpack_from(f"{endian}H", block, entry)
    for offset in range(entry + 2, min(entry + 2 + 12 * count, len(block) - 11), 12):
        if struct.unpack_from(f"{endian}H", block, offset)[0] == _ORIENTATION:
            struct.pack_into(f"{endian}H", patched, offset + 8, 1)
    return bytes(patched)


def png_info(xmp: bytes | None) -> PngInfo:
    info = PngInfo()
    if xmp is not None:
        info.add_itxt(PNG_XMP, xmp.decode(errors="replace"))
    return info


def jpeg_segment(xmp: bytes | None) -> bytes:
    """An APP1 segment with an XMP packet (XMP specification, part 3); empty for one that is too long for it."""
    if xmp is None or len(xmp) > JPEG_XMP_BYTES:
        return b""
    return b"\xff\xe1" + struct.pack(">H", 2 + len(_JPEG_XMP) + len(xmp)) + _JPEG_XMP + xmp


def profile_fits(icc: bytes, mode: str) -> bool:
    """Whether a profile describes this mode; viewers reject files with a grey profile on RGB pixels."""
    return icc[16:20] == (b"GRAY" if mode in ("L", "LA") else b"RGB ")
