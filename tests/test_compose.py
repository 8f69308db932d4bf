"""Joining what is drawn and what is kept: identities, closed forms, and what must not change."""

import cv2
import numpy as np
import pytest

from oodinv.blend import Edit, paste
from oodinv.compose import (
    applied,
    blend_pyramids,
    compose,
    confined,
    face_weight,
    feathered,
    in_tune,
    lost,
    membrane,
    motion,
    raised,
    seamless,
)
from oodinv.quad import crop, square
from oodinv.recipe.edit import Composition


def smooth(size: int, seed: int) -> np.ndarray:
    """A smooth picture, float32 (size, size, 3) in about [60, 190]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [
        rng.normal(size=3) * np.cos(2 * np.pi * (f * x + g * y) + f)[..., None] for f in range(4) for g in range(4)
    ]
    return (125 + 12 * np.sum(waves, axis=0)).astype(np.float32)


def disc(size: int) -> np.ndarray:
    """1 outside a disc in the middle, 0 inside."""
    y, x = np.mgrid[0:size, 0:size] + 0.5
    return (np.hypot(x - size / 2, y - size / 2) > size / 3).astype(np.float32)


@pytest.mark.parametrize("technique", ["mask", "laplacian", "poisson"])
def test_equal_pictures_stay_as_they_are(technique: str) -> None:
    x, mask = smooth(64, 0), np.random.default_rng(1).random((64, 64)).astype(np.float32)
    joined = compose(x, x.copy(), mask, Composition(technique=technique, feather=3, detail=1, colour=1))
    np.testing.assert_allclose(joined, x, atol=2e-3)


def test_mask_is_the_documented_formula() -> None:
    x, g, mask = smooth(32, 0), smooth(32, 1), np.random.default_rng(2).random((32, 32)).astype(np.float32)
    expected = mask[..., None].astype(float) * x + (1 - mask[..., None].astype(float)) * g
    np.testing.assert_allclose(compose(x, g, mask, Composition()), expected, atol=1e-4)


@pytest.mark.parametrize(("value", "which"), [(1.0, 0), (0.0, 1)])
def test_a_pyramid_with_a_constant_mask_gives_one_picture(value: float, which: int) -> None:
    pictures = smooth(64, 0), smooth(64, 1)
    joined = blend_pyramids(*pictures, np.full((64, 64), value, np.float32))
    np.testing.assert_allclose(joined, pictures[which], atol=1e-3)


def test_a_pyramid_blends_a_step_over_a_wide_seam() -> None:
    low, high = np.full((64, 64, 3), 50, np.float32), np.full((64, 64, 3), 200, np.float32)
    mask = np.zeros((64, 64), np.float32)
    mask[:, :32] = 1
    row = blend_pyramids(low, high, mask)[32, :, 0]
    assert np.abs(np.diff(row)).max() < 15  # the mask alone would jump by 150
    assert row[0] < 60
    assert row[-1] > 190


@pytest.mark.parametrize("size", [48, 160])
def test_a_membrane_is_the_harmonic_function_of_its_boundary(size: int) -> None:
    """a + bx + cy + dxy is harmonic, on the grid as well."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    harmonic = np.stack([10 + 40 * x, 30 * y - 20 * x, 50 * x * y], axis=2)
    known = np.zeros((size, size), bool)
    known[[0, -1]] = known[:, [0, -1]] = True
    start = np.where(known[..., None], harmonic, 99).astype(np.float32)
    np.testing.assert_allclose(membrane(start, known), harmonic, atol=0.05 if size <= 64 else 1.0)


def test_poisson_keeps_gradients_up_to_the_line_between_its_ends() -> None:
    """In one dimension y − g is the straight line between x − g at the two ends of the drawn part."""
    size = 48
    column = np.arange(size, dtype=np.float32)
    g = np.broadcast_to((100 + 20 * np.sin(column / 3))[None, :, None], (size, size, 3)).astype(np.float32)
    line = (30 + 0.5 * column)[None, :, None]
    kept = np.zeros((size, size), np.float32)
    kept[:, :8] = kept[:, -8:] = 1
    kept[[0, -1]] = 1
    x = g + line + np.where(kept, 0, 70)[..., None].astype(np.float32)
    y = seamless(x.astype(np.float32), g, kept)
    np.testing.assert_allclose(y - g, np.broadcast_to(line, g.shape), atol=0.05)
    inner = slice(10, -10)
    change = np.diff(y, axis=1) - np.diff(g, axis=1)
    np.testing.assert_allclose(change[:, inner], 0.5, atol=0.02)


def test_a_mask_counts_from_a_level_on() -> None:
    mask = np.array([[0.0, 0.5, 0.75, 1.0]], np.float32)
    assert raised(mask, 0.5).tolist() == [[0, 0, 0.5, 1]]
    assert raised(mask, 0) is mask
    x, g = (np.full((1, 4, 3), level, np.float32) for level in (100, 20))
    joined = compose(x, g, mask, Composition(keep_above=0.5))
    assert joined[0, :, 0].tolist() == [20, 20, 60, 100]


def test_feathering_keeps_what_was_kept() -> None:
    mask = 1 - disc(64)
    soft = feathered(mask, 8)
    assert (soft >= mask).all()
    assert ((soft > 0.05) & (soft < 0.95)).sum() > 100
    assert feathered(mask, 0) is mask


def test_all_that_was_lost_comes_back_where_nothing_was_edited() -> None:
    x, g = smooth(64, 0), smooth(64, 1)
    np.testing.assert_allclose(g + lost(x, g, g, detail=1, colour=1), x, atol=1e-3)
    assert np.abs(lost(x, g, g, detail=0, colour=0)).max() == 0
    colour = lost(x, g, g, detail=0, colour=1)
    np.testing.assert_allclose(colour + lost(x, g, g, detail=1, colour=0), x - g, atol=1e-3)


def test_an_edit_is_kept_when_lost_detail_comes_back() -> None:
    """A change of colour in one place survives; far from it the photo is back."""
    x, before = smooth(64, 0), smooth(64, 1)
    after = before.copy()
    after[20:44, 20:44] += 25
    y = compose(x, after, np.zeros((64, 64), np.float32), Composition(detail=1, colour=1), unedited=before)
    np.testing.assert_allclose((y - x)[28:36, 28:36], 25, atol=4)
    np.testing.assert_allclose(y[:6], x[:6], atol=1.5)


def test_what_a_turn_uncovers_gets_the_colour_of_its_surroundings() -> None:
    """The generator draws the background 30 levels too dark; the head, of the right colour, moves by four pixels."""
    noise = np.random.default_rng(0).normal(size=(80, 80)).astype(np.float32)
    texture = 36 * cv2.GaussianBlur(noise, (0, 0), 1.5)[..., None]

    def drawn(background: float, shift: int) -> np.ndarray:
        head = np.roll(1 - disc(64), shift, axis=1)[..., None]
        skin = 170 + np.roll(texture, shift, axis=1)[8:72, 8:72]
        return (background * (1 - head) + skin * head).astype(np.float32).repeat(3, axis=2)

    x, before, after = drawn(110, 0), drawn(80, 0), drawn(80, 4)
    error = np.abs(after + lost(x, before, after, detail=1, colour=1) - drawn(110, 4)).mean(axis=2)
    uncovered = (disc(64) == 0) & (np.roll(disc(64), 4, axis=1) == 1)
    assert uncovered.sum() > 100
    assert error[uncovered].mean() < 12  # of 30; 18 if colour stays in place
    assert error.mean() < 1.2


def test_motion_finds_a_shift_and_none_without_an_edit() -> None:
    wide = smooth(80, 3) + 20 * np.random.default_rng(0).normal(size=(80, 80, 1)).astype(np.float32)
    before, after = wide[8:72, 8:72], wide[8:72, 6:70]  # the content moves two pixels to the right
    flow = motion(np.ascontiguousarray(before), np.ascontiguousarray(after))
    assert np.median(flow[16:48, 16:48, 0]) == pytest.approx(-2, abs=0.3)
    assert abs(np.median(flow[16:48, 16:48, 1])) < 0.3
    assert np.abs(motion(before, before.copy())).max() == 0


def test_an_edit_stays_on_the_face() -> None:
    before, after = smooth(128, 0), smooth(128, 1)
    y = confined(before, after, Composition(), 1.0)
    np.testing.assert_allclose(y[40:100, 45:83], after[40:100, 45:83], atol=1e-3)
    np.testing.assert_array_equal(y[:, :13], before[:, :13])
    np.testing.assert_array_equal(y[:8, :30], before[:8, :30])
    assert confined(before, after, Composition(area="crop"), 1.0) is after
    tight, wide = (face_weight(128, scale).mean() for scale in (0.8, 1.0))
    assert tight > wide


def test_hues_nearby_leave_what_the_photo_has_and_take_away_what_it_has_not() -> None:
    before = smooth(64, 0)
    moved = np.roll(before, (3, -4), axis=(0, 1))  # each hue was at most 4 pixels away, of 8 that are looked at
    np.testing.assert_array_equal(in_tune(before, before), before)
    np.testing.assert_array_equal(in_tune(before, moved)[8:-8, 8:-8], moved[8:-8, 8:-8])
    luma = np.array([0.299, 0.587, 0.114])
    after = before.copy()
    after[20:30, 20:30] += (0, 0, 90)  # a blue patch
    tuned = in_tune(before, after)
    np.testing.assert_allclose(tuned @ luma, after @ luma, atol=1e-3)
    blue = (tuned - (tuned @ luma)[..., None])[20:30, 20:30, 2]
    assert blue.max() <= (before - (before @ luma)[..., None])[..., 2].max() + 8
    np.testing.assert_array_equal(tuned[40:], after[40:])


def test_nothing_gets_coloured_in_a_grey_photo() -> None:
    grey = smooth(64, 0).mean(axis=2, keepdims=True).repeat(3, axis=2)
    nearby = applied(grey, smooth(64, 1), Composition(hues="nearby", area="crop"), 1.0)
    assert np.ptp(nearby, axis=2).max() <= 8
    assert applied(grey, smooth(64, 1), Composition(area="crop"), 1.0).std(axis=2).max() > 20


def test_pasting_changes_nothing_where_nothing_was_edited() -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(40, 210, (200, 220, 3), dtype=np.uint8)
    quad = square(np.array([110.0, 100.0]), np.array([70.0, 20.0]))
    x = crop(photo, quad, 64)
    mask = np.zeros((64, 64), np.float32)
    mask[:, :32] = 1  # the left half is kept
    g = smooth(64, 1)
    edited = g + 20
    composites = [
        np.rint(compose(x.astype(np.float32), p, mask, Composition())).clip(0, 255).astype(np.uint8)
        for p in (g, edited)
    ]
    same = paste(photo, [Edit(quad, composites[0], composites[0])])
    np.testing.assert_array_equal(same, photo)
    pasted = paste(photo, [Edit(quad, *composites)])
    matrix = np.linalg.inv(np.column_stack([quad[3] - quad[0], quad[1] - quad[0]]))
    yy, xx = np.mgrid[0:200, 0:220] + 0.5
    place = (np.stack([xx, yy], axis=2) - quad[0]) @ matrix.T
    kept = place[..., 0] < 0.45
    np.testing.assert_array_equal(pasted[kept], photo[kept])
    changed = ((place > 0.2) & (place < 0.8)).all(axis=2) & (place[..., 0] > 0.6)
    assert (pasted[changed].astype(int) - photo[changed]).mean() > 15
