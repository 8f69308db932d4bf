"""Reads metadata of pictures and makes it consistent with upright pixels."""

import math
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin
from PIL.PngImagePlugin import PngImageFile

from oodinv.imaging import exif, xmp
from oodinv.imaging.embedded import holds_picture, is_picture
from oodinv.imaging.photo import JpegCoding
from oodinv.imaging.pixels import Number
from oodinv.imaging.png import XMP_KEYWORD

JPEG_SEGMENT_BYTES = 65_533
"""Capacity of one JPEG segment."""
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_XMP_BYTES = JPEG_SEGMENT_BYTES - len(_JPEG_XMP)
"""The longest XMP packet that fits a JPEG without extensions."""
_JPEG_RESOURCES = b"Photoshop 3.0\0"
_IPTC = 0x0404
_JPEG_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_DIGEST_BYTES, _EXTENSION_HEAD = 32, 40  # of a part of an extension: its digest, then its full length and its offset
_TIFF_DESCRIPTIVE = frozenset({270, 271, 272, 282, 283, 296, 305, 306, 315, 33432})
_TIFF_RESOLUTION = frozenset({282, 283})
_EXIF_FOLDERS = (0x8769, 0x8825)  # camera settings, place
_RAW_PROFILE = "raw profile type "  # ImageMagick's way to put EXIF and other blocks into text chunks of a PNG
_FILE_TEXTS = (_RAW_PROFILE, "thumb::", "xml:com.adobe.xmp", "exif:", "tiff:")
"""Prefixes of keywords of PNG texts that describe the file rather than the picture, or repeat EXIF."""


class Metadata(TypedDict):
    """The fields of a `Photo` that come from metadata alone."""

    exif: bytes | None
    xmp: bytes | None
    iptc: bytes | None
    dpi: tuple[float, float] | None
    comments: tuple[bytes, ...]
    texts: dict[str, str]
    jpeg: JpegCoding | None


class Orientations(NamedTuple):
    """Orientation 1 to 8 of a picture, and a second one that contradicts it in the same file, or None."""

    stated: int
    disputed: int | None


def orientations_of(picture: Image.Image) -> Orientations:
    """Orientation of a loaded picture: from EXIF, else from XMP, else 1; a contradicting one of XMP is disputed.

    EXIF takes precedence, as in browsers and in the guidelines of the Metadata Working Group: programs that rotate
    pixels reset it and often forget XMP. Others always write 1 to EXIF; `faces.upright` decides by the faces. HEIC and
    AVIF are rotated by their container alone, which Pillow returns as EXIF.
    """
    if picture.format == "TIFF":
        said = picture.getexif().get(exif.ORIENTATION)
        said = said if isinstance(said, int) and 1 <= said <= 8 else None
    else:
        block = _exif_block(picture)
        said = None if block is None else exif.orientation_of(block)
    other = None if picture.format in ("HEIF", "AVIF") else _orientation_of_xmp(picture)
    if said is None:
        return Orientations(other or 1, None)
    return Orientations(said, None if other == said else other)


def _orientation_of_xmp(picture: Image.Image) -> int | None:
    """Orientation in the XMP packet, else in its extension."""
    packet = _packet(picture)
    said = xmp.orientation_of(packet)
    return xmp.orientation_of(_extension(picture, packet or b"")) if said is None else said


def upright(pixels: NDArray[Number], orientation: int) -> NDArray[Number]:
    """Undoes EXIF orientation 1 to 8 on (H, W) or (H, W, C); other values are treated as 1.

    Source: Exif 2.32, tag 0x0112: the value states the sides at which row 0 and column 0 appear.
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


def metadata_of(picture: Image.Image, orientation: int) -> Metadata:
    """Reads the metadata of a loaded picture, for pixels that were rotated upright from this orientation."""
    size = picture.size if orientation < 5 else picture.size[::-1]
    block = _exif_block(picture)
    dpi = _dpi(picture)
    return Metadata(
        exif=None if block is None else exif.clean(block, size),
        xmp=xmp.clean(_packet(picture), turned=orientation != 1),
        iptc=_iptc(picture),
        dpi=dpi if dpi is None or orientation < 5 else dpi[::-1],
        comments=_comments(picture),
        texts=_texts(picture),
        jpeg=_coding(picture),
    )


def _exif_block(picture: Image.Image) -> bytes | None:
    """Reads the EXIF block; from TIFF, which has the fields among its own tags, the descriptive ones."""
    block = picture.info.get("exif")
    if isinstance(block, bytes):
        prefixed = block.startswith(2 * exif.PREFIX)  # Pillow adds one to eXIf chunks that already have it
        return block.removeprefix(exif.PREFIX) if prefixed else block
    if picture.format != "TIFF":
        return _raw_profile(picture, ("exif", "app1"), (exif.PREFIX, b"II", b"MM"))
    tags = picture.getexif()
    kept = Image.Exif()
    kept.update({tag: value for tag, value in tags.items() if tag in _TIFF_DESCRIPTIVE})
    for folder in _EXIF_FOLDERS:
        if tags.get_ifd(folder):
            kept[folder] = dict(tags.get_ifd(folder))
    return kept.tobytes() if kept else None


def _raw_profile(picture: Image.Image, kinds: tuple[str, ...], starts: tuple[bytes, ...]) -> bytes | None:
    """Decodes a block in a text chunk of a PNG: a name, a length, and hexadecimal digits.

    kinds: of the keyword, in lower case. starts: first bytes by which the block is recognised.
    """
    for key, text in picture.info.items():
        if str(key).lower().removeprefix(_RAW_PROFILE) in kinds and isinstance(text, str):
            try:
                block = bytes.fromhex("".join(text.split()[2:]))
            except ValueError:
                continue
            if block.startswith(starts):
                return block
    return None


def _packet(picture: Image.Image) -> bytes | None:
    """Reads the XMP packet, in UTF-8."""
    found = picture.info.get("xmp") or picture.info.get(XMP_KEYWORD)
    found = found.encode(errors="replace") if isinstance(found, str) else found
    if not isinstance(found, bytes):
        found = _raw_profile(picture, ("xmp", "app1"), (_JPEG_XMP, b"<"))
    return None if found is None else xmp.in_utf8(found.removeprefix(_JPEG_XMP))


def _extension(picture: Image.Image, packet: bytes) -> bytes:
    """Joins the parts of the extension that the packet of a JPEG names by its digest (XMP specification, part 3)."""
    if not isinstance(picture, JpegImagePlugin.JpegImageFile):
        return b""
    bodies = [body.removeprefix(_JPEG_EXTENSION) for _, body in picture.applist if body.startswith(_JPEG_EXTENSION)]
    named = [body for body in bodies if len(body) > _EXTENSION_HEAD and body[:_DIGEST_BYTES] in packet]
    parts = sorted(named, key=lambda body: body[_EXTENSION_HEAD - 4 : _EXTENSION_HEAD])
    return b"".join(body[_EXTENSION_HEAD:] for body in parts)


def _iptc(picture: Image.Image) -> bytes | None:
    """Captions and credits among the image resources of a JPEG, which may hold thumbnails too."""
    resources = picture.info.get("photoshop")
    found = resources.get(_IPTC) if isinstance(resources, dict) and picture.format in ("JPEG", "MPO") else None
    return found if isinstance(found, bytes) and found and not holds_picture(found) else None


def _dpi(picture: Image.Image) -> tuple[float, float] | None:
    if picture.format == "TIFF" and not set(picture.getexif()) >= _TIFF_RESOLUTION:
        return None  # Pillow makes it 1
    try:
        across, down = (float(value) for value in picture.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    known = all(math.isfinite(value) and 0 < value < 60_000 for value in (across, down))
    return (across, down) if known else None


def _comments(picture: Image.Image) -> tuple[bytes, ...]:
    if isinstance(picture, JpegImagePlugin.JpegImageFile):
        return tuple(body for name, body in picture.applist if name == "COM" and not holds_picture(body))
    comment = picture.info.get("comment")
    return (comment,) if isinstance(comment, bytes) and comment and not holds_picture(comment) else ()


def _texts(picture: Image.Image) -> dict[str, str]:
    if not isinstance(picture, PngImageFile):
        return {}
    texts = {key: str(text) for key, text in picture.text.items() if not key.lower().startswith(_FILE_TEXTS)}
    return {key: text for key, text in texts.items() if not is_picture(text)}


def _coding(picture: Image.Image) -> JpegCoding | None:
    """Compression settings of a JPEG in grey or YCbCr; None for others, whose tables are for other channels."""
    if not isinstance(picture, JpegImagePlugin.JpegImageFile) or picture.info.get("adobe_transform") == 0:
        return None
    sampling = 0 if picture.mode == "L" else JpegImagePlugin.get_sampling(picture)
    tables = [picture.quantization.get(layer[3]) for layer in picture.layer]
    if sampling not in (0, 1, 2) or len(tables) != (1 if picture.mode == "L" else 3):
        return None
    known = [tuple(table) for table in tables if table is not None and len(table) == 64 and min(table) > 0]
    fits = len(known) == len(tables) and all(max(table) <= 255 for table in known)
    return JpegCoding(tuple(known), sampling) if fits else None


def jpeg_segments(packet: bytes | None, iptc: bytes | None, comments: tuple[bytes, ...]) -> bytes:
    """Builds segments with an XMP packet, IPTC-IIM and comments; omits those that are too long.

    Sources: XMP specification, part 3; Adobe Photoshop file formats, image resource blocks.
    """
    parts = [] if packet is None else [(b"\xff\xe1", _JPEG_XMP + packet)]
    if iptc is not None:
        head = b"8BIM" + _IPTC.to_bytes(2, "big") + b"\0\0" + len(iptc).to_bytes(4, "big")
        parts.append((b"\xff\xed", _JPEG_RESOURCES + head + iptc + b"\0" * (len(iptc) % 2)))
    parts += [(b"\xff\xfe", comment) for comment in comments]
    return b"".join(
        marker + (2 + len(body)).to_bytes(2, "big") + body for marker, body in parts if len(body) <= JPEG_SEGMENT_BYTES
    )


def profile_fits(icc: bytes, mode: str) -> bool:
    """True if a profile describes this mode; viewers reject files with a grey profile on RGB pixels."""
    return icc[16:20] == (b"GRAY" if mode in ("L", "LA") else b"RGB ")
