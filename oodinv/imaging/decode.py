"""Decodes photos to upright 8-bit RGB, and where asked to 16 bits a channel.

Pixels stay in the photo's own colour space. A network trained on untagged pictures sees what such a picture
would hold, and the profile goes back into the file, so nothing is rounded twice. Only spaces that are no RGB
at all (CMYK, Lab) are converted, to sRGB.
"""

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from oodinv.errors import ImageError
from oodinv.imaging.metadata import PNG_SIGNATURE, exif_of, orientation_of, upright, xmp_of
from oodinv.imaging.photo import Photo
from oodinv.imaging.pixels import Pixels

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
MAX_PIXELS = 178_956_970  # Pillow's own hard limit, read from the header before anything is decoded
MAX_SIDE = 65_535  # a JPEG's limit; a row or column of a hundred million pixels is no photo
_ROWS = 256
_TIFF_MARKS = (b"II*\0", b"MM\0*")
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error)

# Pillow warns of large photos and odd metadata, both dealt with here; a filter per call is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_photo(path: Path, *, deep: bool = False) -> Photo:
    """Decodes the first picture of a file to upright 8-bit RGB.

    16-bit values are scaled, palettes expanded, CMYK and Lab converted to sRGB. deep: keep 16 bits a channel too.

    Raises:
        ImageError: the file is missing, unreadable, no picture, damaged, or larger than MAX_PIXELS or MAX_SIDE.
    """
    try:
        if not path.is_file():
            raise ImageError(f"{path}: {_absence(path)}")
        file = path.open("rb")
    except OSError as error:
        raise ImageError(f"{path}: can't be opened ({error.strerror}); check its permissions") from error
    with file:
        return decode_photo(file.read(), path, deep=True) if deep else _decode(file, path)


def decode_photo(content: bytes, path: Path, *, deep: bool = False) -> Photo:
    """As `read_photo`, from a file's bytes; `path` names it in errors. deep: keep 16 bits a channel too.

    Raises:
        ImageError: no picture, damaged, or larger than MAX_PIXELS or MAX_SIDE.
    """
    photo = _decode(BytesIO(content), path)
    return replace(photo, deep=_deep_pixels(content, photo)) if deep else photo


def _absence(path: Path) -> str:
    if path.is_dir():
        return "expected a picture, found a folder; name the pictures in it, or give the folder as the input"
    if path.exists():
        return "expected a picture, found something that is not a regular file"
    return "no such file; check the spelling, or whether it was moved while the run went on"


def _decode(file: BinaryIO, path: Path) -> Photo:
    try:
        with Image.open(file, formats=FORMATS) as picture:
            _check_size(picture, path)
            picture.load()
            return _photo(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path) from error
    except UnidentifiedImageError as error:
        found = "an empty file" if file.seek(0, 2) == 0 else "something else, whatever its suffix says"
        expected = ", ".join(FORMATS)
        raise ImageError(f"{path}: expected a picture ({expected}), found {found}; export it again") from error
    except _DAMAGED as error:
        raise ImageError(f"{path}: the picture is damaged or incomplete ({error}); export it again") from error


def _check_size(picture: Image.Image, path: Path) -> None:
    if picture.width * picture.height > MAX_PIXELS or max(picture.size) > MAX_SIDE:
        raise _too_large(path)


def _too_large(path: Path) -> ImageError:
    return ImageError(
        f"{path}: its header announces more than {MAX_PIXELS // 1_000_000} megapixels or {MAX_SIDE:,} pixels on a "
        "side, which is refused as a decompression bomb; shrink it first if it is a real photo"
    )


def _photo(picture: Image.Image) -> Photo:
    icc = picture.info.get("icc_profile")
    grey = picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;16")
    if picture.mode in ("CMYK", "LAB"):
        rgb, alpha, icc = _to_srgb(picture, icc), None, None
    else:
        rgb, alpha = _to_rgb(picture)
    turn = orientation_of(picture)
    return Photo(
        pixels=upright(rgb, turn),
        alpha=None if alpha is None else upright(alpha, turn),
        exif=exif_of(picture),
        icc=icc or None,
        xmp=xmp_of(picture),
        format=picture.format or "PNG",
        grey=grey,
    )


def _to_rgb(picture: Image.Image) -> tuple[Pixels, Pixels | None]:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        white = 1.0 if picture.mode == "F" else 65535.0
        return _by_bands(picture, 3, lambda band: _repeat(_scale(np.asarray(band, np.float32), white))), None
    if picture.has_transparency_data:
        rgba = _values(picture, "RGBA")
        return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])
    return _values(picture, "RGB"), None


def _values(picture: Image.Image, mode: Literal["RGB", "RGBA"]) -> Pixels:
    """The picture in a mode, (H, W, 3 or 4)."""
    return _by_bands(picture, len(mode), lambda band: np.asarray(band.convert(mode)))


def _by_bands(picture: Image.Image, channels: int, convert: Callable[[Image.Image], Pixels]) -> Pixels:
    """A picture converted some rows at a time, (H, W, channels); at once, it would take up to three copies more."""
    width, height = picture.size
    values = np.empty((height, width, channels), dtype=np.uint8)
    for rows in _bands(height):
        values[rows] = convert(picture.crop((0, rows.start, width, rows.stop)))
    return values


def _bands(height: int) -> Iterator[slice]:
    """Rows to work on at a time, so that a large photo needs little memory beside itself."""
    return (slice(top, min(top + _ROWS, height)) for top in range(0, height, _ROWS))


def _scale(values: NDArray[np.float32], white: float) -> Pixels:
    """Values in [0, white] → uint8 in [0, 255], rounded; ValueError for others, whose range nobody stated."""
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= white):
        raise ValueError(f"grey values outside 0 to {white:g}")
    scaled: NDArray[np.float32] = np.rint(values * np.float32(255.0 / white))
    return scaled.astype(np.uint8)


def _repeat(grey: Pixels) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=2)


def _to_srgb(picture: Image.Image, icc: bytes | None) -> Pixels:
    """CMYK or Lab → sRGB through the embedded profile, or by Pillow's plain formula where CMYK has none."""
    if picture.mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    elif icc is None or icc[16:20] != b"CMYK":
        return _values(picture, "RGB")
    else:
        source = ImageCms.ImageCmsProfile(BytesIO(icc))
    srgb = ImageCms.createProfile("sRGB")
    try:
        transform = ImageCms.buildTransform(source, srgb, picture.mode, "RGB")
        return _by_bands(picture, 3, lambda band: np.asarray(ImageCms.applyTransform(band, transform)))
    except ImageCms.PyCMSError as error:
        raise ValueError(f"its colour profile can't be used: {error}") from error


def decode_deep(content: bytes, size: int) -> NDArray[np.float32] | None:
    """A 16-bit colour picture without rounding to 8 bits, float32 (3, size, size) in [−1, 1]; None for others.

    Upright. Only for bytes that `decode_photo` took: the size limit is checked there. Transparency is left out.
    """
    found = _decode_16(content)
    if found is None or found.shape[2] < 3:
        return None
    rgb = found[..., :3].astype(np.float32) / 32767.5 - 1
    if rgb.shape[:2] != (size, size):
        shrinks = min(rgb.shape[:2]) > size
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
        rgb = np.asarray(cv2.resize(rgb, (size, size), interpolation=how), np.float32)
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))


def _decode_16(content: bytes) -> NDArray[np.uint16] | None:
    """A PNG or TIFF of 16 bits a channel, upright, (H, W, C): grey, RGB or RGB and transparency; None for others."""
    png = content.startswith(PNG_SIGNATURE) and content[24:25] == b"\x10"  # its bits a channel
    if not png and not content.startswith(_TIFF_MARKS):
        return None
    try:
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # a picture of a shape, or damaged in a way, that only Pillow takes
        return None
    if found is None or found.dtype != np.uint16:
        return None
    values = np.asarray(found.reshape(*found.shape[:2], -1), np.uint16)
    channels = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(values.shape[2])
    if channels is None:
        return None
    with Image.open(BytesIO(content), formats=FORMATS) as picture:
        turn = orientation_of(picture)
    for rows in _bands(len(values)):
        values[rows] = values[rows][..., channels]
    return np.ascontiguousarray(upright(values, turn))


def _deep_pixels(content: bytes, photo: Photo) -> NDArray[np.uint16] | None:
    """The photo unrounded, if its file has 16 bits a channel and OpenCV sees in it what Pillow saw.

    They differ for rarities (ink colours, transparency by colour, unusual TIFF); such a photo stays at 8 bits.
    """
    found = _decode_16(content)
    if found is None:
        return None
    deep = np.repeat(found, 3, axis=2) if found.shape[2] == 1 else found
    if deep.shape != (*photo.pixels.shape[:2], 3 if photo.alpha is None else 4):
        return None
    for rows in _bands(len(deep)):
        pixels = photo.pixels[rows]
        seen = pixels if photo.alpha is None else np.dstack([pixels, photo.alpha[rows]])
        if (np.abs(deep[rows] // 257 - seen.astype(np.int32)) > 1).any():
            return None
    return deep
