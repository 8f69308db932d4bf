"""What a generator lost comes back, moves along with an edit, and is found where it moved."""

import cv2
import numpy as np
import pytest
from shapes import disc, smooth

from oodinv.compositing.detail_transfer import lost, motion
from oodinv.imaging.flow import enlarged


def test_all_that_was_lost_comes_back_where_nothing_was_edited() -> None:
    x, g = smooth(64, 0), smooth(64, 1)
    np.testing.assert_allclose(g + lost(x, g, g, None, detail=1, colour=1), x, atol=1e-3)
    assert np.abs(lost(x, g, g, None, detail=0, colour=0)).max() == 0
    colour = lost(x, g, g, None, detail=0, colour=1)
    np.testing.assert_allclose(colour + lost(x, g, g, None, detail=1, colour=0), x - g, atol=1e-3)


def test_what_a_turn_uncovers_gets_the_colour_of_its_surroundings() -> None:
    """The generator draws the background 30 levels too dark; the head, of the right colour, moves by four pixels."""
    noise = np.random.default_rng(0).normal(size=(80, 80)).astype(np.float32)
    texture = 36 * cv2.GaussianBlur(noise, (0, 0), 1.5)[..., None]

    def drawn(background: float, shift: int) -> np.ndarray:
        head = np.roll(1 - disc(64), shift, axis=1)[..., None]
        skin = 170 + np.roll(texture, shift, axis=1)[8:72, 8:72]
        return (background * (1 - head) + skin * head).astype(np.float32).repeat(3, axis=2)

    x, before, after = drawn(110, 0), drawn(80, 0), drawn(80, 4)
    back = lost(x, before, after, motion(before, after), detail=1, colour=1)
    error = np.abs(after + back - drawn(110, 4)).mean(axis=2)
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


@pytest.mark.parametrize("after", [16.0, 160.0])
def test_what_was_darker_stays_so_in_proportion(after: float) -> None:
    """The photo has a quarter of what was drawn, before and after; a sum would give -44 and 100."""
    x, before, drawn = (np.full((64, 64, 3), level, np.float32) for level in (20, 80, after))
    found = drawn + lost(x, before, drawn, None, detail=1, colour=1)
    np.testing.assert_allclose(found, after / 4, atol=4)


def test_what_was_lighter_stays_so_by_as_much() -> None:
    x, before, after = (np.full((64, 64, 3), level, np.float32) for level in (120, 80, 40))
    np.testing.assert_allclose(after + lost(x, before, after, None, detail=1, colour=1), 80, atol=1e-3)


def test_teeth_in_a_dark_mouth_are_no_darker_than_what_surrounds_them() -> None:
    """A mouth of 20 levels in skin that is drawn 30 levels too light gets teeth of 220."""
    mouth = np.zeros((64, 64, 1), bool)
    mouth[30:34, 26:38] = True
    before = np.where(mouth, 20, 150).astype(np.float32).repeat(3, axis=2)
    x = before - np.where(mouth, 0, 30).astype(np.float32)
    after = np.where(mouth, 220, before).astype(np.float32)
    y = after + lost(x, before, after, None, detail=1, colour=1)
    assert y[31:33, 28:36].min() > 180


def test_motion_of_a_large_crop_is_that_of_a_small_one() -> None:
    wide = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(544, 544)).astype(np.float32), (0, 0), 8)
    wide = 128 + 600 * wide[..., None].repeat(3, axis=2)
    before, after = wide[16:528, 16:528], wide[16:528, 8:520]  # the content moves eight pixels to the right
    found = motion(np.ascontiguousarray(before), np.ascontiguousarray(after))
    assert found.shape == (256, 256, 2)
    flow = enlarged(found, 512)
    assert np.median(flow[128:384, 128:384, 0]) == pytest.approx(-8, abs=0.5)
    assert abs(np.median(flow[128:384, 128:384, 1])) < 0.5
    assert enlarged(flow, 512) is flow
