"""Pasting of edited crops into their photos.

A crop has fewer pixels than its place in the photo, so pasting it would blur the photo. Instead, the photo receives the
difference between edited and unedited crop, enlarged smoothly, and keeps its own detail. If the edit moved something,
the photo's detail is warped first, so that contours don't appear twice. An unchanged crop leaves the photo unchanged.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.faces.quads import Points, crop_to_photo, quad_side
from oodinv.imaging.colour import is_colourless, without_colour
from oodinv.imaging.flow import warp
from oodinv.imaging.pixels import Flow, Levels, Pixels, smoothstep

Depth = TypeVar("Depth", np.uint8, np.uint16)

FEATHER = 0.15  # width of the fade-in inside the quad's border, as a share of its side
_BAND = 512  # rows computed at a time, which bounds the memory for a 50-megapixel photo


@dataclass(frozen=True, eq=False)
class Patch:
    """A crop before and after an edit, uint8 (size, size, 3), and its quad (4, 2) in the photo's pixels.

    flow (size, size, 2): offset in crop pixels from each pixel of the edited crop to its source; None: nothing moved.
    """

    quad: Points
    before: Pixels
    after: Pixels
    flow: Flow | None = None


def paste(pixels: NDArray[Depth], patches: Iterable[Patch], feather: float = FEATHER) -> NDArray[Depth]:
    """Adds the change of each patch, one after another, to a photo uint8 or uint16 (H, W, 3). → a new photo.

    p ← p + w · U(after − before). U enlarges bicubically (or averages, if the crop is larger than its place). w rises
    smoothly from 0 at the quad's border to 1 at `feather` times its side inside. If the patch has a flow f, p and
    `before` are sampled at an offset of w · f first.
    16-bit photos (257 levels for one of 8 bits) are rounded only at the end. Changes to grey photos are grey. Pixels
    outside the quads are unchanged. feather is in (0, 0.5].

    Raises:
        ValueError: feather is out of range, or the crops of a patch differ in shape.
    """
    if not 0 < feather <= 0.5:
        raise ValueError(f"feather must be in (0, 0.5], as a share of the side, not {feather}")
    pasted = pixels.copy()
    for patch in patches:
        _add_change(pasted, patch, feather)
    return pasted


def _add_change(pixels: NDArray[Depth], patch: Patch, feather: float) -> None:
    """Adds the change of one patch to pixels, in place."""
    if patch.before.shape != patch.after.shape:
        raise ValueError(f"the crops differ in shape: {patch.before.shape} and {patch.after.shape}")
    limit = pixels.shape[1::-1]
    left, top = np.clip(np.floor(patch.quad.min(axis=0)).astype(int), 0, limit)
    right, bottom = np.clip(np.ceil(patch.quad.max(axis=0)).astype(int), 0, limit)
    if left == right:
        return
    white = int(np.iinfo(pixels.dtype).max)
    before = warp(patch.before.astype(np.float32), patch.flow)
    change = _prefiltered(_matching_colour(patch.after - before, pixels[top:bottom, left:right]), quad_side(patch.quad))
    offset = None if patch.flow is None else _photo_flow(patch.flow, patch.quad)
    source = None if offset is None else pixels[top:bottom, left:right].copy()
    for start in range(top, bottom, _BAND):
        band = pixels[start : min(start + _BAND, bottom), left:right]
        quad = patch.quad - (left, start)
        weight = _weight(quad, band.shape, feather)[..., None]
        if source is not None and offset is not None:
            band[:] = _warped_rows(source, start - top, _resampled(offset, quad, band.shape) * weight)
        changed = band + _resampled(change, quad, band.shape) * (weight * np.float32(white / 255))
        band[:] = np.rint(changed).clip(0, white).astype(pixels.dtype)


def _matching_colour(change: Levels, photo: NDArray[Depth]) -> Levels:
    """Removes the colour from a change (size, size, 3) if its part of the photo (h, w, 3) is grey."""
    return without_colour(change) if is_colourless(photo) else change


def _photo_flow(flow: Flow, quad: Points) -> Flow:
    """A flow in crop pixels as one in the photo's, made fit for `_enlarged`."""
    return _prefiltered(flow @ crop_to_photo(quad, flow.shape[0])[:, :2].T.astype(np.float32), quad_side(quad))


def _warped_rows(source: NDArray[Depth], start: int, offset: Flow) -> NDArray[Depth]:
    """Samples rows of `source` from `start` on at offsets (h, w, 2) in pixels. → (h, w, 3)."""
    row, column = np.indices(offset.shape[:2], dtype=np.float32)
    x, y = (np.asarray(p, dtype=np.float32) for p in (column + offset[..., 0], row + offset[..., 1] + start))
    sampled = cv2.remap(source, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, dtype=source.dtype)


def _prefiltered(change: NDArray[np.float32], side: float) -> NDArray[np.float32]:
    """Prefilters an array (size, size) or (size, size, C) for bicubic sampling into a quad with this side in pixels.

    If it is finer than the photo, it is averaged down. If it is coarser, it is smoothed against halos and steps, with
    up to the (1, 4, 1) / 6 of a cubic B-spline at four times the size.
    """
    size = max(1, round(side))
    if size < change.shape[0]:
        return np.asarray(cv2.resize(change, (size, size), interpolation=cv2.INTER_AREA), dtype=np.float32)
    smoothing = float(np.clip((side / change.shape[0] - 1.5) / 2.5, 0, 1)) / 6
    taps = np.array([smoothing, 1 - 2 * smoothing, smoothing])
    return np.asarray(cv2.sepFilter2D(change, -1, taps, taps, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)


def _resampled(change: NDArray[np.float32], quad: Points, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Samples an array in crop space at the pixel centres of a part of the photo with this shape (h, w, …)."""
    matrix = _photo_to_crop(quad, change.shape[0])
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts pixel centres from 0, on both sides
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    sampled = cv2.warpAffine(change, matrix, (shape[1], shape[0]), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, dtype=np.float32)


def _photo_to_crop(quad: Points, size: int) -> Points:
    """Inverts `crop_to_photo`. → affine matrix (2, 3)."""
    inverse: Points = np.asarray(cv2.invertAffineTransform(crop_to_photo(quad, size)), dtype=np.float64)
    return inverse


def _weight(quad: Points, shape: tuple[int, ...], feather: float) -> NDArray[np.float32]:
    """Weight (h, w) in [0, 1] at pixel centres: 0 outside the quad, 1 from `feather` inside its border."""
    matrix = _photo_to_crop(quad, 1).astype(np.float32)
    y = np.arange(shape[0], dtype=np.float32)[:, None] + 0.5
    x = np.arange(shape[1], dtype=np.float32) + 0.5
    weight = np.ones(shape[:2], dtype=np.float32)
    for across, down, offset in matrix:
        place = across * x + down * y + offset
        inside = np.minimum(place, 1 - place) / feather
        weight *= smoothstep(inside)
    return weight
