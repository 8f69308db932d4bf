"""Reads pictures of 16 bits per channel, which Pillow rounds to 8, with OpenCV."""

from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oodinv.imaging.formats import READ
from oodinv.imaging.metadata import orientations_of, upright
from oodinv.imaging.photo import Photo
from oodinv.imaging.pixels import row_bands
from oodinv.imaging.png import SIGNATURE

_MARKS = (b"II*\0", b"MM\0*", b"P2", b"P3", b"P5", b"P6", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
"""First bytes of TIFF, PGM and PPM, and JPEG 2000."""


def decode_deep(content: bytes, size: int) -> NDArray[np.float32] | None:
    """Decodes a 16-bit colour picture, upright, float32 (3, size, size) in [−1, 1], without alpha; None for others.

    Only for bytes that `decode_photo` has accepted, because it checks the size limit.
    """
    found = _decode_16(content, None)
    if found is None or found.shape[2] < 3:
        return None
    rgb = found[..., :3].astype(np.float32) / 32767.5 - 1
    if rgb.shape[:2] != (size, size):
        shrinks = min(rgb.shape[:2]) > size
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
        rgb = np.asarray(cv2.resize(rgb, (size, size), interpolation=how), np.float32)
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))


def _decode_16(content: bytes, orientation: int | None) -> NDArray[np.uint16] | None:
    """Decodes a PNG, TIFF, PPM or JPEG 2000 of 16 bits per channel, upright, (H, W, C): grey, RGB or RGBA.

    None for other files. orientation: of the stored pixels, by default from the file.
    """
    png = content.startswith(SIGNATURE) and content[24:25] == b"\x10"  # its bits per channel
    if not png and not content.startswith(_MARKS):
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
    if orientation is None:
        with Image.open(BytesIO(content), formats=READ) as picture:
            picture.load()  # a PNG may say its orientation after the pixels
            orientation = orientations_of(picture).stated
    for rows in row_bands(len(values)):
        values[rows] = values[rows][..., channels]
    return np.ascontiguousarray(upright(values, orientation))


def deep_pixels(content: bytes, photo: Photo) -> NDArray[np.uint16] | None:
    """Returns 16-bit pixels if the file has them and OpenCV decodes the same picture as Pillow, otherwise None.

    The decoders differ for rare files (ink colours, a transparent colour, unusual TIFF), which stay at 8 bits.
    """
    found = _decode_16(content, photo.orientation)
    if found is None:
        return None
    deep = np.repeat(found, 3, axis=2) if found.shape[2] == 1 else found
    if deep.shape != (*photo.pixels.shape[:2], 3 if photo.alpha is None else 4):
        return None
    for rows in row_bands(len(deep)):
        pixels = photo.pixels[rows]
        seen = pixels if photo.alpha is None else np.dstack([pixels, photo.alpha[rows]])
        if (np.abs(deep[rows] // 257 - seen.astype(np.int32)) > 1).any():
            return None
    return deep
