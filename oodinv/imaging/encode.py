"""Writes pictures as PNG and JPEG."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oodinv.errors import ImageError
from oodinv.imaging.files import atomic_write
from oodinv.imaging.metadata import JPEG_EXIF_BYTES, PNG_SIGNATURE, PNG_XMP, jpeg_segment, png_info, profile_fits
from oodinv.imaging.photo import Photo
from oodinv.imaging.pixels import Pixels

# On photos, run lengths alone are packed as fast as zlib's level 1 and smaller; level 6 takes three times as long.
PNG_PACKING = {"compress_level": 1, "compress_type": zlib.Z_RLE}
JPEG_QUALITY = 95


def write_png(path: Path, pixels: Pixels, xmp: bytes | None = None) -> None:
    """Writes uint8 (H, W), (H, W, 3) or (H, W, 4) as PNG, with an XMP packet; the same pixels give the same bytes.

    Raises:
        OutputError, ImageError: see `atomic_write`.
    """
    picture = Image.fromarray(pixels)
    atomic_write(path, lambda file: picture.save(file, "PNG", pnginfo=png_info(xmp), **PNG_PACKING))


def write_photo(path: Path, photo: Photo) -> None:
    """Writes a photo with its EXIF block, XMP, profile and transparency, as the suffix says (.png, .jpg, .jpeg).

    A grey photo whose channels are still equal is written with one channel. JPEG: no chroma subsampling. PNG:
    16 bits a channel where the photo has `deep`.

    Raises:
        ImageError: another suffix, or transparency in a JPEG. OutputError: see `atomic_write`.
    """
    suffix = path.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise ImageError(f"{path}: photos are written as .png or .jpg; choose one of these suffixes")
    if suffix != ".png" and photo.alpha is not None:
        raise ImageError(f"{path}: JPEG holds no transparency; write this photo as .png")
    if suffix == ".png" and photo.deep is not None:
        content = _deep_png(photo, photo.deep)
        atomic_write(path, lambda file: file.write(content))
        return
    picture = _picture(photo)
    extra: dict[str, bytes] = {}
    if photo.exif is not None and (suffix == ".png" or len(photo.exif) <= JPEG_EXIF_BYTES):
        extra["exif"] = photo.exif
    if photo.icc is not None and profile_fits(photo.icc, picture.mode):
        extra["icc_profile"] = photo.icc
    if suffix == ".png":
        info = png_info(photo.xmp)
        atomic_write(path, lambda file: picture.save(file, "PNG", pnginfo=info, **PNG_PACKING, **extra))
    else:
        extra["extra"] = jpeg_segment(photo.xmp)
        atomic_write(path, lambda file: picture.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0, **extra))


def _picture(photo: Photo) -> Image.Image:
    pixels = photo.pixels
    colourless = photo.grey and bool((pixels[..., :1] == pixels).all())
    channels = pixels[..., :1] if colourless else pixels
    if photo.alpha is not None:
        channels = np.concatenate([channels, photo.alpha[..., None]], axis=2)
    return Image.fromarray(channels[..., 0] if channels.shape[2] == 1 else channels)


def _deep_png(photo: Photo, deep: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits a channel with the photo's metadata: OpenCV packs the pixels, which Pillow can't.

    Source: PNG specification, third edition, 11.2 and 11.3: the chunks iCCP, eXIf and iTXt, all before IDAT.
    """
    colourless = photo.grey and deep.shape[2] == 3 and bool((deep[..., :1] == deep).all())
    bgr = deep[..., 0] if colourless else deep[..., [2, 1, 0, 3][: deep.shape[2]]]
    packing = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, packed = cv2.imencode(".png", np.ascontiguousarray(bgr), packing)
    if not done:
        raise ValueError("OpenCV can't pack this picture as PNG")
    plain, chunks = packed.tobytes(), b""
    if photo.icc is not None and profile_fits(photo.icc, "L" if colourless else "RGB"):
        chunks += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(photo.icc))
    if photo.exif is not None:
        chunks += _chunk(b"eXIf", photo.exif.removeprefix(b"Exif\0\0"))
    if photo.xmp is not None:
        chunks += _chunk(b"iTXt", PNG_XMP.encode() + b"\0\0\0\0\0" + photo.xmp)
    end_of_header = len(PNG_SIGNATURE) + 25
    return plain[:end_of_header] + chunks + plain[end_of_header:]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
