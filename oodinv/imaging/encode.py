"""Writes pictures as PNG, JPEG, WebP and TIFF."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from oodinv.errors import ImageError
from oodinv.imaging.colour import equal_channels, profile_of_png, rgb_profile_of
from oodinv.imaging.exif import PREFIX
from oodinv.imaging.files import atomic_write
from oodinv.imaging.metadata import JPEG_SEGMENT_BYTES, jpeg_segments, profile_fits
from oodinv.imaging.photo import Photo
from oodinv.imaging.pixels import Number, Pixels
from oodinv.imaging.png import SHOWN_BY, XMP_KEYWORD, pack_16, text_chunk, with_chunks, xmp_chunk

# On photos, run lengths alone are packed as fast as zlib's level 1 and smaller; level 6 takes three times as long.
PNG_PACKING = {"compress_level": 1, "compress_type": zlib.Z_RLE}
JPEG_QUALITY = 95
"""For photos from other formats, without chroma subsampling."""
_WEBP_SIDE = 16_383
_XMP_TAG = 700

FormatName = Literal["png", "jpg", "webp", "tiff"]
FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)


@dataclass(frozen=True)
class OutputFormat:
    """The format in which photos are written.

    name: None: by `Photo.suffix`, that is, JPEG as JPEG and other formats as PNG. quality, 1 to 100, is for
    jpg and webp; None keeps a JPEG's own quantisation tables and chroma subsampling, writes other photos as JPEG of
    quality 95 without subsampling, and WebP without loss.

    Raises:
        ValueError: quality is out of range, or the format has none.
    """

    name: FormatName | None = None
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.quality is None:
            return
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality is between 1 and 100, and not {self.quality}")
        if self.name in ("png", "tiff"):
            raise ValueError(
                f"{self.name} is written without loss and has no quality; leave it out, or choose jpg or webp"
            )

    def suffix(self, photo: Photo) -> str:
        """Suffix of this photo's file, with the dot."""
        return photo.suffix if self.name is None else f".{self.name}"


AS_SOURCE = OutputFormat()


def write_png(path: Path, pixels: Pixels, xmp: bytes | None = None) -> None:
    """Writes uint8 (H, W), (H, W, 3) or (H, W, 4) as PNG, with an XMP packet; the same pixels give the same bytes.

    Raises:
        OutputError, ImageError: see `atomic_write`.
    """
    picture, info = Image.fromarray(pixels), PngInfo()
    if xmp is not None:
        info.add_itxt(XMP_KEYWORD, xmp.decode(errors="replace"))
    atomic_write(path, lambda file: picture.save(file, "PNG", pnginfo=info, **PNG_PACKING))


def write_photo(path: Path, photo: Photo, quality: int | None = None) -> None:
    """Writes a photo with its metadata, profile and transparency as .png, .jpg, .webp or .tiff, by the suffix.

    A grey photo whose channels are still equal is written with one channel. PNG has 16 bits per channel if the photo
    has `deep`, other formats have 8. quality: see `OutputFormat`.

    Raises:
        ImageError: another suffix, transparency in a JPEG, or a picture that is too large for WebP. OutputError: see
            `atomic_write`.
    """
    encode = _ENCODERS.get(path.suffix.lower())
    if encode is None:
        raise ImageError(f"{path}: photos are written as {', '.join(_ENCODERS)}; choose one of these suffixes")
    content = encode(path, photo, quality)
    atomic_write(path, lambda file: file.write(content))


def _png(_path: Path, photo: Photo, _quality: int | None) -> bytes:
    if photo.deep is not None:
        values = _channels(photo, photo.deep)
        plain, mode = pack_16(values), "L" if values.shape[2] <= 2 else "RGB"
    else:
        picture, file = _picture(photo), BytesIO()
        picture.save(file, "PNG", **PNG_PACKING)
        plain, mode = file.getvalue(), picture.mode
    return with_chunks(plain, _png_chunks(photo, mode))


def _png_chunks(photo: Photo, mode: str) -> list[tuple[bytes, bytes]]:
    """Lists the chunks with the photo's metadata for a PNG of this mode, in an order that the specification allows."""
    shown = dict(photo.chunks)
    if b"pHYs" not in shown and photo.dpi is not None:
        across, down = (round(value / 0.0254) for value in photo.dpi)
        shown[b"pHYs"] = across.to_bytes(4, "big") + down.to_bytes(4, "big") + b"\1"
    chunks = [(kind, shown[kind]) for kind in SHOWN_BY if kind in shown]
    if (icc := _profile(photo, mode)) is not None:
        chunks = [(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc)), *(c for c in chunks if c[0] != b"sRGB")]
    if photo.exif is not None:
        chunks.append((b"eXIf", photo.exif.removeprefix(PREFIX)))
    comments = {"Comment": "\n".join(map(_decoded, photo.comments))} if photo.comments else {}
    chunks += [text_chunk(keyword, text) for keyword, text in (comments | photo.texts).items()]
    return chunks if photo.xmp is None else [*chunks, xmp_chunk(photo.xmp)]


def _jpeg(path: Path, photo: Photo, quality: int | None) -> bytes:
    if photo.alpha is not None:
        raise ImageError(f"{path}: JPEG holds no transparency; write this photo as .png")
    picture = _picture(_of_8_bits(photo))
    extra = _metadata(photo, picture.mode, JPEG_SEGMENT_BYTES)
    if picture.mode == "L" and photo.format == "JPEG" and photo.icc is not None:
        extra["icc_profile"] = photo.icc  # the source had these pixels with this profile, whatever it is for
    comments = photo.comments or ((photo.texts["Comment"].encode(),) if "Comment" in photo.texts else ())
    how: dict[str, Any] = {"quality": JPEG_QUALITY if quality is None else quality, "subsampling": 0}
    if photo.jpeg is not None:
        how["subsampling"] = photo.jpeg.subsampling
        if quality is None:
            del how["quality"]
            how["qtables"] = [list(table) for table in _tables(photo.jpeg.tables, picture.mode)]
    file = BytesIO()
    picture.save(file, "JPEG", extra=jpeg_segments(photo.xmp, photo.iptc, comments), **how, **extra)
    return file.getvalue()


def _tables(tables: tuple[tuple[int, ...], ...], mode: str) -> tuple[tuple[int, ...], ...]:
    """Returns quantisation tables for the channels of this mode; libjpeg repeats the last one."""
    if mode == "L":
        return tables[:1]
    return tables[:2] if tables[1:2] == tables[2:3] else tables


def _webp(path: Path, photo: Photo, quality: int | None) -> bytes:
    if max(photo.pixels.shape[:2]) > _WEBP_SIDE:
        raise ImageError(f"{path}: WebP holds no picture with more than {_WEBP_SIDE:,} pixels on a side; choose png")
    picture = _picture(replace(_of_8_bits(photo), grey=False))
    extra = _metadata(photo, picture.mode)
    extra.pop("dpi", None)
    if photo.xmp is not None:
        extra["xmp"] = photo.xmp
    file = BytesIO()
    how = {"lossless": True, "quality": 50} if quality is None else {"quality": quality}
    picture.save(file, "WEBP", exact=True, **how, **extra)
    return file.getvalue()


def _tiff(_path: Path, photo: Photo, _quality: int | None) -> bytes:
    picture = _picture(_of_8_bits(photo))
    extra = _metadata(photo, picture.mode)
    tags = Image.Exif()
    if photo.exif is not None:
        tags.load(extra.pop("exif"))
    if photo.xmp is not None:
        tags[_XMP_TAG] = photo.xmp
    file = BytesIO()
    picture.save(file, "TIFF", exif=tags, **extra)  # not compressed: libtiff writes no folders of EXIF for Pillow
    return file.getvalue()


_ENCODERS: dict[str, Callable[[Path, Photo, int | None], bytes]] = {
    ".png": _png,
    ".jpg": _jpeg,
    ".jpeg": _jpeg,
    ".webp": _webp,
    ".tiff": _tiff,
    ".tif": _tiff,
}
WRITTEN_SUFFIXES = tuple(sorted(_ENCODERS))
"""Lower-case suffixes that `write_photo` takes."""


def _metadata(photo: Photo, mode: str, longest_exif: int | None = None) -> dict[str, Any]:
    """Returns EXIF, profile and resolution as options of Pillow."""
    found: dict[str, Any] = {}
    if photo.exif is not None and (longest_exif is None or len(photo.exif) <= longest_exif):
        found["exif"] = photo.exif
    icc = _profile(photo, mode) or profile_of_png(photo.chunks, grey=mode in ("L", "LA"))
    if icc is not None:
        found["icc_profile"] = icc
    if photo.dpi is not None:
        found["dpi"] = photo.dpi
    return found


def _profile(photo: Photo, mode: str) -> bytes | None:
    """The photo's profile if it fits the mode, or one for RGB with the curve of a grey one; None without."""
    if photo.icc is None or profile_fits(photo.icc, mode):
        return photo.icc
    return rgb_profile_of(photo.icc) if profile_fits(photo.icc, "L") else None


def _picture(photo: Photo) -> Image.Image:
    channels = _channels(photo, photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha]))
    return Image.fromarray(channels[..., 0] if channels.shape[2] == 1 else channels)


def _channels(photo: Photo, values: NDArray[Number]) -> NDArray[Number]:
    """Reduces (H, W, 3 or 4) to one colour channel, (H, W, 1 or 2), if the photo was and still is grey."""
    grey = photo.grey and equal_channels(values[..., :3])
    return np.ascontiguousarray(values[..., [0, 3][: values.shape[2] - 2]]) if grey else values


def _of_8_bits(photo: Photo) -> Photo:
    """Rounds the photo's `deep` pixels to 8 bits."""
    if photo.deep is None:
        return photo
    pixels = np.rint(photo.deep[..., :3] * np.float32(1 / 257)).astype(np.uint8)
    return replace(photo, pixels=pixels, deep=None)


def _decoded(comment: bytes) -> str:
    try:
        return comment.decode()
    except UnicodeDecodeError:
        return comment.decode("latin-1")
