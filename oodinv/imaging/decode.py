"""Decodes photos to upright RGB of 8 bits, optionally of 16 bits per channel.

Pixels stay in the photo's colour space, and its profile is written to the results, so that values are rounded once.
Only other spaces than RGB (CMYK, Lab) are converted, to sRGB.
"""

import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from oodinv.errors import ImageError
from oodinv.imaging.colour import profile_of_codes
from oodinv.imaging.deep import deep_pixels
from oodinv.imaging.formats import ANIMATED, READ
from oodinv.imaging.metadata import metadata_of, orientations_of, upright
from oodinv.imaging.photo import Photo
from oodinv.imaging.pixels import Pixels, row_bands
from oodinv.imaging.png import is_grey, read_chunks, turned

MAX_PIXELS = 178_956_970  # Pillow's own hard limit, read from the header before anything is decoded
MAX_SIDE = 65_535  # a JPEG's limit; longer rows or columns don't occur in photos
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, RuntimeError, struct.error, zlib.error)
"""Exceptions of Pillow and its plugins for damaged files."""

# Pillow warns of large photos and odd metadata, both dealt with here; a filter per call is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_photo(path: Path, *, deep: bool = False, frame: int = 0, orientation: int | None = None) -> Photo:
    """Decodes a picture of a file, the first by default, to upright 8-bit RGB.

    16-bit values are scaled, palettes expanded, CMYK and Lab converted to sRGB. deep: also keep 16 bits per channel.
    frame: of an animation or a file of several pages, counted from 0; see `count_frames`. orientation: 1 to 8,
    instead of the file's.

    Raises:
        ImageError: the file is missing, unreadable, not a picture, damaged, larger than MAX_PIXELS or MAX_SIDE, or has
        no
            such frame.
    """
    with _opened(path) as file:
        if deep:
            return decode_photo(file.read(), path, deep=True, frame=frame, orientation=orientation)
        return _decode(file, path, frame, orientation)


def decode_photo(
    content: bytes, path: Path, *, deep: bool = False, frame: int = 0, orientation: int | None = None
) -> Photo:
    """Decodes the bytes of a file like `read_photo`; path: for errors. Frames after the first have 8 bits per channel.

    Raises:
        ImageError: it is not a picture, damaged, larger than MAX_PIXELS or MAX_SIDE, or without such a frame.
    """
    photo = _decode(BytesIO(content), path, frame, orientation)
    return replace(photo, deep=deep_pixels(content, photo)) if deep and frame == 0 else photo


def count_frames(content: bytes, path: Path) -> int:
    """Counts the frames of an animated GIF, WebP, PNG or AVIF, the pages of a TIFF, or the pictures of a HEIC.

    1 for other formats, in which further pictures are previews, depth maps, etc. Decodes no pixels.

    Raises:
        ImageError: it is empty, not a picture, or damaged.
    """
    if not content:
        raise _empty(path)
    with _damage_named(path), Image.open(BytesIO(content), formats=READ) as picture:
        return _frames_of(picture)


def _frames_of(picture: Image.Image) -> int:
    return int(getattr(picture, "n_frames", 1)) if picture.format in ANIMATED else 1


def _opened(path: Path) -> BinaryIO:
    try:
        if not path.is_file():
            raise ImageError(f"{path}: {_absence(path)}")
        return path.open("rb")
    except OSError as error:
        raise ImageError(f"{path}: can't be opened ({error.strerror}); check its permissions") from error


def _absence(path: Path) -> str:
    if path.is_dir():
        return "expected a picture, found a folder; name the pictures in it, or give the folder as the input"
    if path.exists():
        return "expected a picture, found something that is not a regular file"
    return "no such file; check the spelling, or whether it was moved while the run went on"


def _decode(file: BinaryIO, path: Path, frame: int, orientation: int | None) -> Photo:
    if file.seek(0, 2) == 0:
        raise _empty(path)
    file.seek(0)
    with _damage_named(path), Image.open(file, formats=READ) as picture:
        _check_size(picture, path)
        if frame:
            _seek(picture, frame, path)
        picture.load()
        is_png = picture.format == "PNG"
        chunks = read_chunks(file) if is_png else {}
        return _photo(picture, chunks, orientation, grey=is_png and is_grey(file))


def _seek(picture: Image.Image, frame: int, path: Path) -> None:
    frames = _frames_of(picture)
    if not 0 <= frame < frames:
        raise ImageError(f"{path}: has no frame {frame}, only {frames}, counted from 0")
    picture.seek(frame)
    _check_size(picture, path)  # pages of a TIFF differ in size


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Converts Pillow's exceptions to errors that name the file."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path) from error
    except UnidentifiedImageError as error:
        expected = ", ".join(READ)
        raise ImageError(
            f"{path}: expected a picture ({expected}), found another kind of file despite its suffix; export it again"
        ) from error
    except _DAMAGED as error:
        raise ImageError(f"{path}: the picture is damaged or incomplete ({error}); export it again") from error


def _check_size(picture: Image.Image, path: Path) -> None:
    if picture.width * picture.height > MAX_PIXELS or max(picture.size) > MAX_SIDE:
        raise _too_large(path)


def _empty(path: Path) -> ImageError:
    return ImageError(f"{path}: expected a picture, found an empty file; export it again")


def _too_large(path: Path) -> ImageError:
    return ImageError(
        f"{path}: its header announces more than {MAX_PIXELS // 1_000_000} megapixels or {MAX_SIDE:,} pixels on a "
        "side, which is refused as a decompression bomb; shrink it first if it is a real photo"
    )


def _photo(picture: Image.Image, chunks: dict[bytes, bytes], orientation: int | None, *, grey: bool) -> Photo:
    icc = picture.info.get("icc_profile")
    grey = grey or picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;16")
    codes = picture.info.get("nclx_profile")
    if picture.mode in ("CMYK", "LAB"):
        rgb, alpha, icc = _to_srgb(picture, icc), None, None
    else:
        rgb, alpha = _to_rgb(picture)
    if not icc and isinstance(codes, dict):
        icc = profile_of_codes(codes.get("color_primaries", 2), codes.get("transfer_characteristics", 2), grey=grey)
    said = orientations_of(picture)
    turn = orientation or said.stated
    return Photo(
        pixels=upright(rgb, turn),
        alpha=None if alpha is None else upright(alpha, turn),
        icc=icc or None,
        format=picture.format or "PNG",
        grey=grey,
        chunks=turned(chunks) if turn >= 5 else chunks,
        orientation=turn,
        disputed=said.disputed,
        **metadata_of(picture, turn),
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
    """Converts a picture to a mode, (H, W, 3 or 4)."""
    return _by_bands(picture, len(mode), lambda band: np.asarray(band.convert(mode)))


def _by_bands(picture: Image.Image, channels: int, convert: Callable[[Image.Image], Pixels]) -> Pixels:
    """Converts a picture in bands of rows to save memory, (H, W, channels)."""
    width, height = picture.size
    values = np.empty((height, width, channels), dtype=np.uint8)
    for rows in row_bands(height):
        values[rows] = convert(picture.crop((0, rows.start, width, rows.stop)))
    return values


def _scale(values: NDArray[np.float32], white: float) -> Pixels:
    """Values in [0, white] → uint8 in [0, 255], rounded; ValueError for other values, whose range is unknown."""
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= white):
        raise ValueError(f"grey values outside 0 to {white:g}")
    scaled: NDArray[np.float32] = np.rint(values * np.float32(255.0 / white))
    return scaled.astype(np.uint8)


def _repeat(grey: Pixels) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=2)


def _to_srgb(picture: Image.Image, icc: bytes | None) -> Pixels:
    """Converts CMYK or Lab to sRGB by the embedded profile; CMYK without one by Pillow's formula."""
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
