"""Pasting of edited crops: unchanged pixels, accuracy of the change, and artefacts at borders."""

import math

import cv2
import numpy as np
import pytest

from oodinv.compositing.paste_back import Patch, paste
from oodinv.faces.crop import crop
from oodinv.faces.quads import square
from oodinv.imaging.flow import warp


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 190, (height, width, 3), dtype=np.uint8)


def tilted(side: float, degrees: float = 25.0) -> np.ndarray:
    direction = side / 2 * np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
    return square(np.array([151.3, 139.8]), direction)


def place_in_crop(quad: np.ndarray, height: int, width: int) -> np.ndarray:
    """Solves for the crop coordinates in [0, 1] of each pixel centre. → (H, W, 2)."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    sides = np.column_stack([quad[3] - quad[0], quad[1] - quad[0]])
    return (np.stack([x, y], axis=-1) - quad[0]) @ np.linalg.inv(sides).T


@pytest.mark.parametrize("size", [16, 64, 300])
def test_an_unchanged_crop_leaves_the_photo_unchanged(size: int) -> None:
    photo, quad = noise(300, 320), tilted(180)
    before = crop(photo, quad, size)
    np.testing.assert_array_equal(paste(photo, [Patch(quad, before, before.copy())]), photo)


@pytest.mark.parametrize("size", [16, 64, 300])
def test_nothing_outside_the_quad_changes(size: int) -> None:
    photo, quad = noise(300, 320), tilted(180)
    original = photo.copy()
    pasted = paste(photo, [Patch(quad, noise(size, size, 1), noise(size, size, 2))])
    place = place_in_crop(quad, 300, 320)
    outside = ((place <= 0) | (place >= 1)).any(axis=2)
    np.testing.assert_array_equal(pasted[outside], photo[outside])
    assert (pasted[~outside] != photo[~outside]).mean() > 0.5
    np.testing.assert_array_equal(photo, original)


@pytest.mark.parametrize("size", [32, 64, 400])
def test_a_linear_change_is_reproduced_at_its_position(size: int) -> None:
    photo, quad = noise(300, 320), tilted(200)
    before = np.full((size, size, 3), 60, np.uint8)  # nowhere is the photo darker
    centre = (np.arange(size) + 0.5) / size
    change = np.rint(np.stack([np.tile(centre * 60, (size, 1)), np.tile(centre[:, None] * 60, size)], axis=2))
    after = before.copy()
    after[..., :2] += change.astype(np.uint8)
    pasted = paste(photo, [Patch(quad, before, after)], feather=0.1).astype(int) - photo
    place = place_in_crop(quad, 300, 320)
    inside = ((place > 0.12) & (place < 0.88)).all(axis=2)
    assert np.abs(pasted[inside][:, :2] - 60 * place[inside]).max() <= 1.6
    assert (pasted[..., 2] == 0).all()


@pytest.mark.parametrize("size", [16, 300])
def test_a_change_of_a_16_bit_photo_is_not_rounded_to_8_bits(size: int) -> None:
    """The 8-bit result is the rounded 16-bit one; outside the quad, the 16-bit values are unchanged."""
    quad = tilted(180)
    eight = noise(300, 320)
    fine = np.random.default_rng(3).integers(-100, 100, eight.shape)
    deep = (eight.astype(int) * 257 + fine).astype(np.uint16)
    before = np.full((size, size, 3), 50, np.uint8)  # nowhere is the photo darker
    patch = Patch(quad, before, noise(size, size, 2) - np.uint8(60))
    pasted, coarse = paste(deep, [patch]), paste(eight, [patch])
    assert pasted.dtype == np.uint16
    place = place_in_crop(quad, 300, 320)
    outside = ((place <= 0) | (place >= 1)).any(axis=2)
    np.testing.assert_array_equal(pasted[outside], deep[outside])
    unclipped = (coarse > 0) & (coarse < 255)
    assert np.abs((pasted.astype(int) - fine) / 257 - coarse)[unclipped].max() <= 0.5 + 1 / 257
    assert len(np.unique((pasted[~outside] - fine[~outside]) % 257)) > 200


def test_the_border_has_no_seam() -> None:
    photo, quad = np.full((300, 320, 3), 128, np.uint8), tilted(200)
    before, after = np.full((64, 64, 3), 50, np.uint8), np.full((64, 64, 3), 130, np.uint8)
    pasted = paste(photo, [Patch(quad, before, after)], feather=0.1).astype(int)
    # The steepest point of the smooth step is 1.5 / feather per side; √2 where two borders meet.
    bound = 80 * 1.5 / (0.1 * 200) * math.sqrt(2) + 1
    assert max(np.abs(np.diff(pasted, axis=axis)).max() for axis in (0, 1)) <= bound
    assert pasted.max() == 208


def test_a_greatly_enlarged_edge_has_no_halo() -> None:
    photo, quad = np.full((300, 320, 3), 128, np.uint8), tilted(240)
    before = np.full((12, 12, 3), 100, np.uint8)
    after = before.copy()
    after[:, 6:] = 180
    pasted = paste(photo, [Patch(quad, before, after)]).astype(int)
    assert pasted.min() >= 128 - 2
    assert pasted.max() <= 208 + 2


def test_detail_of_the_photo_is_preserved() -> None:
    photo, quad = noise(300, 320), tilted(200)
    before = crop(photo, quad, 16)
    after = before + np.uint8(20)
    pasted = paste(photo, [Patch(quad, before, after)], feather=0.1)
    inside = (np.abs(place_in_crop(quad, 300, 320) - 0.5) < 0.4).all(axis=2)
    luma = photo @ np.array([0.299, 0.587, 0.114])
    bright = inside & (luma > before.max())
    assert bright.sum() > 100
    np.testing.assert_array_equal(pasted[bright], photo[bright] + 20)
    added = pasted[inside].astype(int) - photo[inside]
    assert added.max() == 20
    least = np.floor(20 * np.minimum(1, luma[inside] / (1.1 * before.max())))
    assert (added >= least[:, None]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_detail_that_the_crop_averages_away_keeps_its_contrast(dtype: type) -> None:
    """Stripes of 30 and 120 levels, averaged to 75 in the crop: both take all of a change by 30."""
    unit = 1 if dtype is np.uint8 else 257
    stripes = np.where(np.arange(480) // 2 % 2, 30, 120).astype(np.uint8)
    photo = np.broadcast_to(stripes[None, :, None], (480, 480, 3)).copy()
    quad = square(np.array([240.0, 240.0]), np.array([192.0, 0.0]))
    before = crop(photo, quad, 32)
    assert before.std() < 4
    middle = photo[240, 200:280, 0]
    for step in (30, -30):
        after = (before.astype(int) + step).clip(0, 255).astype(np.uint8)
        pasted = paste((photo.astype(int) * unit).astype(dtype), [Patch(quad, before, after)])
        found = pasted[240, 200:280, 0] / unit
        np.testing.assert_allclose(found[middle == 120], 120 + step, atol=2)
        np.testing.assert_allclose(found[middle == 30], 30 + step, atol=2)


def test_new_content_arrives_in_full() -> None:
    """Teeth in a dark mouth."""
    photo, quad = noise(300, 320), tilted(200)
    photo[:] = photo // 2
    before = crop(photo, quad, 16)
    after = np.full_like(before, 240)
    added = (
        paste(photo, [Patch(quad, before, after)], feather=0.1)[140:160, 140:160].astype(int) - photo[140:160, 140:160]
    )
    assert added.min() > 0.9 * (240 - before.max())


def test_the_crop_of_a_pasted_photo_is_the_edited_crop() -> None:
    smooth = crop(noise(12, 12), np.array([[0, 0], [0, 12], [12, 12], [12, 0]], dtype=np.float64), 300)
    quad = tilted(200)
    before = crop(smooth, quad, 64)
    bump = np.exp(-(((np.indices((64, 64)) - 31.5) / 10) ** 2).sum(axis=0))[..., None] * 50
    after = np.rint(before + bump).astype(np.uint8)
    again = crop(paste(smooth, [Patch(quad, before, after)]), quad, 64)
    assert np.abs(again.astype(int) - after).max() <= 2


def test_quads_across_the_edge_and_outside_the_photo() -> None:
    photo = noise(100, 100)
    across = square(np.array([0.0, 50.0]), np.array([30.0, 8.0]))
    away = square(np.array([500.0, 500.0]), np.array([30.0, 8.0]))
    before, after = np.full((32, 32, 3), 50, np.uint8), np.full((32, 32, 3), 60, np.uint8)
    pasted = paste(photo, [Patch(across, before, after), Patch(away, before, after)])
    np.testing.assert_array_equal(pasted[50, :10], photo[50, :10] + 10)
    np.testing.assert_array_equal(pasted[:, 45:], photo[:, 45:])


def test_patches_are_pasted_one_after_another() -> None:
    photo = np.full((100, 200, 3), 100, np.uint8)
    before, after = np.full((32, 32, 3), 50, np.uint8), np.full((32, 32, 3), 60, np.uint8)
    quads = [square(np.array([x, 50.0]), np.array([40.0, 0.0])) for x in (50.0, 60.0)]
    both = paste(photo, [Patch(quad, before, after) for quad in quads])
    one_by_one = paste(paste(photo, [Patch(quads[0], before, after)]), [Patch(quads[1], before, after)])
    np.testing.assert_array_equal(both, one_by_one)
    assert both.max() == 120


@pytest.mark.parametrize("degrees", [0.0, 35.0])
def test_detail_of_the_photo_is_warped_by_the_flow(degrees: float) -> None:
    """A flow of 2 pixels in a crop of 32 moves the detail of a photo of 10 times its size by 20 pixels."""
    rng = np.random.default_rng(0)
    photo = np.repeat(rng.integers(60, 200, (420, 420, 1)), 3, axis=2).astype(np.float32)
    photo = np.rint(cv2.GaussianBlur(photo, (0, 0), 1.5)).astype(np.uint8)
    direction = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    quad = square(np.array([210.0, 210.0]), 160 * direction)
    before = crop(photo, quad, 32)
    flow = np.broadcast_to(np.array([-2, 0], np.float32), (32, 32, 2)).copy()
    after = np.rint(warp(before.astype(np.float32), flow)).astype(np.uint8)
    pasted = paste(photo, [Patch(quad, before, after, flow)])
    x, y = np.rint(20 * direction).astype(int)
    middle = np.s_[180:240, 180:240]
    shifted = photo[180 - y : 240 - y, 180 - x : 240 - x].astype(float)
    assert np.abs(pasted[middle] - shifted).mean() < 0.3 * np.abs(photo[middle] - shifted).mean()
    outside = np.hypot(*(np.mgrid[0:420, 0:420] - 210)) > 228
    np.testing.assert_array_equal(pasted[outside], photo[outside])


def test_a_flow_of_zero_equals_no_flow() -> None:
    photo, quad = noise(200, 180, 3), square(np.array([90.3, 101.8]), np.array([50.0, 21.0]))
    before, after = noise(16, 16, 1), noise(16, 16, 2)
    still = np.zeros((16, 16, 2), np.float32)
    np.testing.assert_array_equal(
        paste(photo, [Patch(quad, before, after, still)]), paste(photo, [Patch(quad, before, after)])
    )


def test_a_wrong_feather_and_crops_of_different_shapes_are_rejected() -> None:
    photo, quad = noise(50, 50), square(np.array([25.0, 25.0]), np.array([10.0, 0.0]))
    with pytest.raises(ValueError, match="feather"):
        paste(photo, [], feather=0)
    with pytest.raises(ValueError, match="differ in shape"):
        paste(photo, [Patch(quad, noise(8, 8), noise(9, 9))])
