"""Transfer of residuals to edited pictures, and the optical flow that it uses."""

import cv2
import numpy as np
import pytest
from shapes import disc, smooth

from oodinv.compositing.detail_transfer import REPLACED, optical_flow, transferred_residual
from oodinv.imaging.flow import resize_flow, warp


def test_without_an_edit_the_whole_residual_is_restored() -> None:
    x, g = smooth(64, 0), smooth(64, 1)
    np.testing.assert_allclose(g + transferred_residual(x, g, g, None, detail=1, colour=1), x, atol=1e-3)
    assert np.abs(transferred_residual(x, g, g, None, detail=0, colour=0)).max() == 0
    colour = transferred_residual(x, g, g, None, detail=0, colour=1)
    np.testing.assert_allclose(colour + transferred_residual(x, g, g, None, detail=1, colour=0), x - g, atol=1e-3)


def test_uncovered_background_gets_the_colour_of_its_surroundings() -> None:
    """The generated background is 30 levels too dark; the head has the right colour and moves by four pixels."""
    noise = np.random.default_rng(0).normal(size=(80, 80)).astype(np.float32)
    texture = 36 * cv2.GaussianBlur(noise, (0, 0), 1.5)[..., None]

    def picture(background: float, shift: int) -> np.ndarray:
        head = np.roll(1 - disc(64), shift, axis=1)[..., None]
        skin = 170 + np.roll(texture, shift, axis=1)[8:72, 8:72]
        return (background * (1 - head) + skin * head).astype(np.float32).repeat(3, axis=2)

    x, before, after = picture(110, 0), picture(80, 0), picture(80, 4)
    back = transferred_residual(x, before, after, optical_flow(before, after), detail=1, colour=1)
    error = np.abs(after + back - picture(110, 4)).mean(axis=2)
    uncovered = (disc(64) == 0) & (np.roll(disc(64), 4, axis=1) == 1)
    assert uncovered.sum() > 100
    assert error[uncovered].mean() < 16  # of 30; 30 if the residual is not warped
    assert error.mean() < 1.2


def test_optical_flow_of_a_shift_and_of_equal_pictures() -> None:
    wide = smooth(80, 3) + 20 * np.random.default_rng(0).normal(size=(80, 80, 1)).astype(np.float32)
    before, after = wide[8:72, 8:72], wide[8:72, 6:70]  # the content moves two pixels to the right
    flow = optical_flow(np.ascontiguousarray(before), np.ascontiguousarray(after))
    assert np.median(flow[16:48, 16:48, 0]) == pytest.approx(-2, abs=0.3)
    assert abs(np.median(flow[16:48, 16:48, 1])) < 0.3
    assert np.abs(optical_flow(before, before.copy())).max() == 0


@pytest.mark.parametrize("level", [120.0, 50.0])
def test_a_lighter_or_darker_photo_stays_so_by_the_same_difference(level: float) -> None:
    x, before, after = (np.full((64, 64, 3), value, np.float32) for value in (level, 80, 75))
    found = after + transferred_residual(x, before, after, None, detail=1, colour=1)
    np.testing.assert_allclose(found, level - 5, atol=2)


def test_teeth_in_a_dark_mouth_are_not_darkened_more_than_their_surroundings() -> None:
    """A mouth of 20 levels, in generated skin that is 30 levels too light, gets teeth of 220."""
    mouth = np.zeros((64, 64, 1), bool)
    mouth[30:34, 26:38] = True
    before = np.where(mouth, 20, 150).astype(np.float32).repeat(3, axis=2)
    x = before - np.where(mouth, 0, 30).astype(np.float32)
    after = np.where(mouth, 220, before).astype(np.float32)
    y = after + transferred_residual(x, before, after, None, detail=1, colour=1)
    assert y[31:33, 28:36].min() > 180


def test_optical_flow_of_a_large_crop_is_resized() -> None:
    wide = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(544, 544)).astype(np.float32), (0, 0), 8)
    wide = 128 + 600 * wide[..., None].repeat(3, axis=2)
    before, after = wide[16:528, 16:528], wide[16:528, 8:520]  # the content moves eight pixels to the right
    found = optical_flow(np.ascontiguousarray(before), np.ascontiguousarray(after))
    assert found.shape == (256, 256, 2)
    flow = resize_flow(found, 512)
    assert np.median(flow[128:384, 128:384, 0]) == pytest.approx(-8, abs=0.5)
    assert abs(np.median(flow[128:384, 128:384, 1])) < 0.5
    assert resize_flow(flow, 512) is flow


def test_an_edit_adds_its_change_to_the_photo() -> None:
    """An edit adds light of 12 levels; pores that the generator draws alike before and after don't show."""
    pores = [6 * np.random.default_rng(seed).normal(size=(64, 64, 1)).astype(np.float32) for seed in range(2)]
    x, before = (smooth(64, 0) + noise for noise in pores)
    still = np.zeros((64, 64, 2), np.float32)
    found = before + 12 + transferred_residual(x, before, before + 12, still, 1, 1)
    kept = np.exp(-np.square(12 / REPLACED))
    np.testing.assert_allclose(found, before + 12 + kept * (x - before), atol=1e-2)


def test_nothing_of_what_is_replaced_is_left() -> None:
    """Lips become teeth: the photo's own lips, which the generator draws 40 levels darker, must not tint them."""
    mouth = np.zeros((256, 256, 1), np.float32)
    mouth[120:160, 60:200] = 1
    before = 150 - 60 * mouth.repeat(3, axis=2)
    x, after = before + 40 * mouth, before + 130 * mouth
    found = after + transferred_residual(x, before, after, None, 1, 1)
    assert np.abs(found - after)[130:150, 70:190].max() < 1
    np.testing.assert_allclose(found[:60], x[:60], atol=1e-2)


def test_the_generators_grid_gives_way_to_the_photos_detail() -> None:
    """The generator draws a grid of 4 pixels, which the edit moves by one; the photo has none."""
    row = np.arange(1024)[:, None].repeat(1024, axis=1)
    grid = 4 * np.sin(row * np.pi / 2)[..., None].astype(np.float32)
    x, flow = smooth(1024, 0), np.zeros((1024, 1024, 2), np.float32)
    flow[..., 1] = 1
    before = x + grid
    after = warp(x, flow) + grid
    found = after + transferred_residual(x, before, after, flow, 1, 1)
    assert np.abs(found - warp(x, flow))[16:1000, 16:1000].mean() < 0.3 * np.abs(grid).mean()


def test_a_mouth_that_changes_is_the_generators() -> None:
    """Teeth move, and the edit changes the mouth by 16 levels, where skin would keep most of the residual."""
    x, before = smooth(128, 0), smooth(128, 1)
    after = before + 16
    mouth = np.zeros((128, 128), np.float32)
    mouth[:, 64:] = 1
    found = transferred_residual(x, before, after, None, 1, 1, mouth)
    left, right = (np.abs(found[:, part]).mean() for part in (np.s_[:64], np.s_[64:]))
    assert left > 0.5 * np.abs(x - before)[:, :64].mean()
    assert right < 0.05 * np.abs(x - before)[:, 64:].mean()
    np.testing.assert_allclose(transferred_residual(x, before, before, None, 1, 1, mouth), x - before, atol=1e-3)
