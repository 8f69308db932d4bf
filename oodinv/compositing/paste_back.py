"""Edited crops back into their photos.

A crop is a shrunken copy, so putting it back would blur the photo. What goes back is the change: the photo
keeps every detail of its own and receives the difference between edited and original crop, enlarged smoothly. Where the
edit moved something, the photo's detail moves along first, so that a contour goes where it now belongs and isn't
drawn twice. Shadows finer than the crop shows, as between strands of hair, change less than what they lie in, or a
lighter face would come with a veil over its hair. An unchanged crop changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.tones import tone_share
from oodinv.faces.quads import Points, crop_to_photo, quad_side
from oodinv.imaging.colour import is_colourless, without_colour
from oodinv.imaging.flow import moved
from oodinv.imaging.pixels import Flow, Levels, Pixels, luma, smoothstep

Depth = TypeVar("Depth", np.uint8, np.uint16)

FEATHER = 0.15  # of the quad's side: over this distance from its border inwards, the change grows from nothing
_BAND = 512  # rows worked on at a time, so that a 50-megapixel photo needs little memory


@dataclass(frozen=True, eq=False)
class Edit:
    """What became of one crop: its quad (4, 2) in the photo, the crop before and after, uint8 (size, size, 3).

    flow: where each pixel of the edited crop comes from, as an offset (size, size, 2) in crop pixels; None: all stays.
    """

    quad: Points
    before: Pixels
    after: Pixels
    flow: Flow | None = None


def paste(pixels: NDArray[Depth], edits: Iterable[Edit], feather: float = FEATHER) -> NDArray[Depth]:
    """Adds the change of each crop to a photo uint8 or uint16 (H, W, 3), in turn; returns a new photo.

    p ← p + w · s · U(after − before), where U enlarges bicubically into the photo (or, for a crop larger than its
    place, averages), and the weight w rises smoothly from 0 at the quad's border to 1 at feather times the side
    inside it; s is 1 but for fine shadows (`_spared`). In a photo of 16 bits, where 257 levels are one of 8 bits,
    nothing is rounded before the sum. Where the photo has no colour, the change has none either.
    Pixels outside the quads stay as they are, bit for bit. Where an edit has a
    flow f, p and before are sampled at w · f from their place first. feather is in (0, 0.5].

    Raises:
        ValueError: feather is out of range, or the crops of an edit differ in shape.
    """
    if not 0 < feather <= 0.5:
        raise ValueError(f"feather is a share of the side, in (0, 0.5], and not {feather}")
    pasted = pixels.copy()
    for edit in edits:
        _add_change(pasted, edit, feather)
    return pasted


def _add_change(pixels: NDArray[Depth], edit: Edit, feather: float) -> None:
    """Adds one edit to pixels, in place, within the bounding box of its quad."""
    if edit.before.shape != edit.after.shape:
        raise ValueError(f"the crops differ in shape: {edit.before.shape} and {edit.after.shape}")
    limit = pixels.shape[1::-1]
    left, top = np.clip(np.floor(edit.quad.min(axis=0)).astype(int), 0, limit)
    right, bottom = np.clip(np.ceil(edit.quad.max(axis=0)).astype(int), 0, limit)
    if left == right:
        return
    white = int(np.iinfo(pixels.dtype).max)
    before = moved(edit.before.astype(np.float32), edit.flow)
    change = _to_scale(_coloured(edit.after - before, pixels[top:bottom, left:right]), quad_side(edit.quad))
    shade = _to_scale(luma(before), quad_side(edit.quad))
    offset = None if edit.flow is None else _in_photo(edit.flow, edit.quad)
    source = None if offset is None else pixels[top:bottom, left:right].copy()
    for start in range(top, bottom, _BAND):
        band = pixels[start : min(start + _BAND, bottom), left:right]
        quad = edit.quad - (left, start)
        weight = _weight(quad, band.shape, feather)[..., None]
        if source is not None and offset is not None:
            band[:] = _carried(source, start - top, _enlarged(offset, quad, band.shape) * weight)
        levels = band * np.float32(255 / white)
        wanted = _enlarged(change, quad, band.shape)
        share = _spared(luma(levels), _enlarged(shade, quad, band.shape), luma(wanted))
        toned = levels + wanted * share[..., None] * weight
        band[:] = np.rint(toned * np.float32(white / 255)).clip(0, white).astype(pixels.dtype)


def _coloured(change: Levels, photo: NDArray[Depth]) -> Levels:
    """The change, without colour where the part of the photo (h, w, 3) that it goes to has none."""
    return without_colour(change) if is_colourless(photo) else change


def _spared(photo: Levels, crop: Levels, change: Levels) -> Levels:
    """Share of a change for each pixel, from luma (h, w): less than 1 where the photo is darker than its crop shows.

    A tone multiplies, s = min(1, photo / crop), which keeps the contrast of strands of hair. What is far brighter or
    darker than what was there, as teeth in a mouth, covers instead (`tones.tone_share`). Lights get no more than the
    change, or bright backgrounds would glow beside lighter hair.
    """
    return tone_share(np.minimum(1, photo / np.maximum(crop, 1)), change)


def _in_photo(flow: Flow, quad: Points) -> Flow:
    """A flow in crop pixels as one in the photo's, made fit for `_enlarged`."""
    return _to_scale(flow @ crop_to_photo(quad, flow.shape[0])[:, :2].T.astype(np.float32), quad_side(quad))


def _carried(source: NDArray[Depth], start: int, offset: Flow) -> NDArray[Depth]:
    """Rows of `source` from `start` on, each pixel taken from its place plus an offset (h, w, 2) in pixels."""
    row, column = np.indices(offset.shape[:2], dtype=np.float32)
    x, y = (np.asarray(p, dtype=np.float32) for p in (column + offset[..., 0], row + offset[..., 1] + start))
    sampled = cv2.remap(source, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, dtype=source.dtype)


def _to_scale(change: NDArray[np.float32], side: float) -> NDArray[np.float32]:
    """The change (size, size) or (size, size, C) made fit for bicubic sampling at the resolution of the photo.

    If it is finer than the photo, it is averaged down. If it is much coarser, it is smoothed a little, up to the
    (1, 4, 1) / 6 of a cubic B-spline at four times: bicubic sampling would draw halos and steps around its pixels.
    """
    size = max(1, round(side))
    if size < change.shape[0]:
        return np.asarray(cv2.resize(change, (size, size), interpolation=cv2.INTER_AREA), dtype=np.float32)
    smoothing = float(np.clip((side / change.shape[0] - 1.5) / 2.5, 0, 1)) / 6
    taps = np.array([smoothing, 1 - 2 * smoothing, smoothing])
    return np.asarray(cv2.sepFilter2D(change, -1, taps, taps, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)


def _enlarged(change: NDArray[np.float32], quad: Points, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The change sampled at the pixel centres of a part of the photo of this shape (h, w, ...)."""
    matrix = _photo_to_crop(quad, change.shape[0])
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts pixel centres from 0, on both sides
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    sampled = cv2.warpAffine(change, matrix, (shape[1], shape[0]), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, dtype=np.float32)


def _photo_to_crop(quad: Points, size: int) -> Points:
    """Affine matrix (2, 3), the inverse of `crop_to_photo`."""
    inverse: Points = np.asarray(cv2.invertAffineTransform(crop_to_photo(quad, size)), dtype=np.float64)
    return inverse


def _weight(quad: Points, shape: tuple[int, ...], feather: float) -> NDArray[np.float32]:
    """Weight (h, w) in [0, 1] at pixel centres: 0 from the quad's border outwards, 1 from feather inwards."""
    matrix = _photo_to_crop(quad, 1).astype(np.float32)
    y = np.arange(shape[0], dtype=np.float32)[:, None] + 0.5
    x = np.arange(shape[1], dtype=np.float32) + 0.5
    weight = np.ones(shape[:2], dtype=np.float32)
    for across, down, offset in matrix:
        place = across * x + down * y + offset
        inside = np.minimum(place, 1 - place) / feather
        weight *= smoothstep(inside)
    return weight
