"""Cutting a quad out of a photo. `faces.quads` states the coordinates."""

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oodinv.errors import ImageError
from oodinv.faces.quads import Points, crop_to_photo, quad_side
from oodinv.imaging.pixels import Pixels, blurred, resize_pixels


def crop(pixels: Pixels, quad: Points, size: int) -> Pixels:
    """The quad's content, upright, anti-aliased: photo uint8 (H, W, 3) → uint8 (size, size, 3).

    Outside the photo, its reflection fades to a blur and then to its median colour, as in FFHQ; unlike there, no pixel
    of the photo itself is blurred.

    Raises:
        ValueError: the quad and the photo don't overlap.
    """
    ratio = quad_side(quad) / size
    shrink = max(1, int(ratio / 2))
    region, quad = _region(pixels, quad, shrink)
    region, quad = _pad(region, quad)
    oversampling = math.ceil(ratio / shrink - 1e-6)
    if oversampling <= 1:
        return _resample(region, quad, size, 1, 0)
    margin = 3  # support of the Lanczos kernel in crop pixels
    fine = _resample(region, quad, size, oversampling, margin)
    inner = (margin * oversampling, margin * oversampling) + (oversampling * (margin + size),) * 2
    return np.array(Image.fromarray(fine).resize((size, size), Image.Resampling.LANCZOS, box=inner))


def square_crop(pixels: Pixels, size: int, path: Path) -> Pixels:
    """Resizes an input that is already a crop to (size, size).

    Raises:
        ImageError: it isn't square, so resizing would distort it.
    """
    height, width = pixels.shape[:2]
    if height != width:
        raise ImageError(
            f"{path}: is {width} by {height} pixels, and --aligned expects square crops; leave out --aligned (in a "
            "recipe, aligned: true) to have faces found and cut out, or cut it square"
        )
    return resize_pixels(pixels, size)


def rough_crop(pixels: Pixels, quad: Points, size: int) -> Pixels:
    """The same as `crop` in a tenth of the time: not wholly anti-aliased, and outside the photo its border repeats.

    For pictures that a detector looks at and nobody else.

    Raises:
        ValueError: the quad and the photo don't overlap.
    """
    region, quad = _region(pixels, quad, max(1, int(quad_side(quad) / size)))
    return _resample(region, quad, size, 1, 0, cv2.INTER_LINEAR)


def _region(pixels: Pixels, quad: Points, shrink: int) -> tuple[Pixels, Points]:
    """Part of the photo under the quad, with room for interpolation, averaged over shrink × shrink blocks."""
    height, width = pixels.shape[:2]
    room = 4 * max(shrink, math.ceil(quad_side(quad) / 256))
    left, top = np.maximum(np.floor(quad.min(axis=0)).astype(int) - room, 0)
    right, bottom = np.minimum(np.ceil(quad.max(axis=0)).astype(int) + room, (width, height))
    if left >= right or top >= bottom:
        raise ValueError(f"the quad {quad.tolist()} lies outside the {width} x {height} photo")
    part = pixels[top:bottom, left:right]
    quad = (quad - (left, top)) / shrink
    if shrink == 1:
        return part, quad
    surplus = (-part.shape[0] % shrink, -part.shape[1] % shrink)
    whole = cv2.copyMakeBorder(part, 0, surplus[0], 0, surplus[1], cv2.BORDER_REPLICATE)
    blocks = (whole.shape[1] // shrink, whole.shape[0] // shrink)
    return np.asarray(cv2.resize(whole, blocks, interpolation=cv2.INTER_AREA), dtype=np.uint8), quad


def _pad(region: Pixels, quad: Points) -> tuple[Pixels, Points]:
    """Extends the region to cover the quad: reflection, fading to a blur and to the median colour."""
    room = 4
    size = np.array(region.shape[1::-1])
    before = np.maximum(np.ceil(room - quad.min(axis=0)).astype(int), 0)
    after = np.maximum(np.ceil(quad.max(axis=0) + room - size).astype(int), 0)
    if max(before.max(), after.max()) <= room:
        return region, quad
    (left, top), (right, bottom) = before, after
    padded = np.asarray(cv2.copyMakeBorder(region, top, bottom, left, right, cv2.BORDER_REFLECT_101), np.uint8)
    side = quad_side(quad)
    reach = np.maximum(np.stack([before, after]), 0.3 * side)  # the fade is at least this long, as in FFHQ
    fade_x = _outside(padded.shape[1], left, right, reach[:, 0])
    fade_y = _outside(padded.shape[0], top, bottom, reach[:, 1])
    soft, median = blurred(padded.astype(np.float32), 0.02 * side), _median(region)
    for strip in _border(padded.shape[0], padded.shape[1], top, bottom, left, right):
        fade = np.maximum(fade_y[strip[0], None], fade_x[strip[1]])[..., None]
        faded = padded[strip] + (soft[strip] - padded[strip]) * np.minimum(3 * fade, 1)
        faded += (median - faded) * np.minimum(fade, 1)
        padded[strip] = np.rint(faded).clip(0, 255)
    return padded, quad + before


def _border(height: int, width: int, top: int, bottom: int, left: int, right: int) -> list[tuple[slice, slice]]:
    """The padding as four strips of rows and columns."""
    middle, all_columns = slice(top, height - bottom), slice(0, width)
    return [
        (slice(0, top), all_columns),
        (slice(height - bottom, height), all_columns),
        (middle, slice(0, left)),
        (middle, slice(width - right, width)),
    ]


def _median(region: Pixels) -> NDArray[np.float32]:
    """Median of each channel (3,), by counting; sorting takes many times as long."""
    middle = np.array([(region[..., 0].size - 1) // 2, region[..., 0].size // 2]) + 1
    below = (np.cumsum(cv2.calcHist([region], [n], None, [256], [0, 256])) for n in range(3))
    return np.array([np.searchsorted(counts, middle).mean() for counts in below], dtype=np.float32)


def _outside(length: int, before: int, after: int, reach: Points) -> NDArray[np.float32]:
    """Distance of each pixel from the unpadded stretch of an axis, in units of the reach on its side."""
    position = np.arange(length) + 0.5
    low = (before - position) / reach[0]
    high = (position - (length - after)) / reach[1]
    return np.asarray(np.maximum(np.maximum(low, high), 0), dtype=np.float32)


def _resample(
    region: Pixels, quad: Points, size: int, oversampling: int, margin: int, interpolation: int = cv2.INTER_CUBIC
) -> Pixels:
    """Samples on a grid oversampling times as fine as the crop's, with margin crop pixels around."""
    matrix = crop_to_photo(quad, size * oversampling)
    # OpenCV counts pixel centres from 0: move by half a pixel before and after.
    start = matrix[:, :2] @ np.full(2, 0.5 - margin * oversampling) + matrix[:, 2] - 0.5
    length = (size + 2 * margin) * oversampling
    return np.asarray(
        cv2.warpAffine(
            region,
            np.column_stack([matrix[:, :2], start]),
            (length, length),
            flags=interpolation | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        dtype=np.uint8,
    )
