"""Transfer of residuals to edited pictures, and the optical flow that it uses."""

import cv2
import numpy as np
import pytest
from shapes import disc, smooth

from oodinv.compositing.detail_transfer import TONE_FLOOR, optical_flow, redrawn_detail, transferred_residual
from oodinv.faces.parts import PARTS
from oodinv.imaging.flow import resize_flow, warp


def test_without_an_edit_the_whole_residual_is_restored() -> None:
    x, g = smooth(64, 0), smooth(64, 1)
    np.testing.assert_allclose(g + transferred_residual(x, g, None, detail=1, colour=1), x, atol=1e-3)
    assert np.abs(transferred_residual(x, g, None, detail=0, colour=0)).max() == 0
    colour = transferred_residual(x, g, None, detail=0, colour=1)
    np.testing.assert_allclose(colour + transferred_residual(x, g, None, detail=1, colour=0), x - g, atol=1e-3)


def test_uncovered_background_gets_the_colour_of_its_surroundings() -> None:
    """The generated background is 30 levels too dark; the head has the right colour and moves by four pixels."""
    noise = np.random.default_rng(0).normal(size=(80, 80)).astype(np.float32)
    texture = 36 * cv2.GaussianBlur(noise, (0, 0), 1.5)[..., None]

    def picture(background: float, shift: int) -> np.ndarray:
        head = np.roll(1 - disc(64), shift, axis=1)[..., None]
        skin = 170 + np.roll(texture, shift, axis=1)[8:72, 8:72]
        return (background * (1 - head) + skin * head).astype(np.float32).repeat(3, axis=2)

    x, before, after = picture(110, 0), picture(80, 0), picture(80, 4)
    back = transferred_residual(x, before, optical_flow(before, after), detail=1, colour=1)
    error = np.abs(after + back - picture(110, 4)).mean(axis=2)
    uncovered = (disc(64) == 0) & (np.roll(disc(64), 4, axis=1) == 1)
    assert uncovered.sum() > 100
    assert error[uncovered].mean() < 12  # of 30; 18 if the colour residual is not warped
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
    x, before, after = (np.full((64, 64, 3), value, np.float32) for value in (level, 80, 40))
    found = after + transferred_residual(x, before, None, detail=1, colour=1)
    np.testing.assert_allclose(found, level - 40, atol=1e-3)


def test_teeth_in_a_dark_mouth_are_not_darkened_more_than_their_surroundings() -> None:
    """A mouth of 20 levels, in generated skin that is 30 levels too light, gets teeth of 220."""
    mouth = np.zeros((64, 64, 1), bool)
    mouth[30:34, 26:38] = True
    before = np.where(mouth, 20, 150).astype(np.float32).repeat(3, axis=2)
    x = before - np.where(mouth, 0, 30).astype(np.float32)
    after = np.where(mouth, 220, before).astype(np.float32)
    y = after + transferred_residual(x, before, None, detail=1, colour=1)
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


def test_what_an_edit_redraws_gives_way_to_the_photos_detail() -> None:
    """An edit adds light of 12 levels and draws other pores; where its own detail is asked for, its pores show."""
    pores = [6 * np.random.default_rng(seed).normal(size=(64, 64, 1)).astype(np.float32) for seed in range(3)]
    x, before, after = (smooth(64, 0) + noise for noise in pores)
    after = after + 12
    still, parts = np.zeros((64, 64, 2), np.float32), np.full((64, 64), PARTS.index("skin"), np.uint8)
    redrawn = redrawn_detail(x, before, after, still, parts, blur=4)
    found = after + transferred_residual(x, before, still, 1, 1, redrawn)
    assert np.abs(found - x - 12)[8:56, 8:56].max() < 3
    assert np.corrcoef((found - smooth(64, 0))[..., 0].ravel(), pores[0].ravel())[0, 1] > 0.98
    drawn = np.zeros((64, 64), np.float32)
    drawn[:, 32:] = 1
    both = after + transferred_residual(x, before, still, 1, 1, redrawn, drawn)
    np.testing.assert_allclose(both[:, :32], found[:, :32], atol=1e-3)
    assert np.corrcoef((both - smooth(64, 0))[:, 32:, 0].ravel(), pores[2][:, 32:].ravel())[0, 1] > 0.95
    assert np.abs(redrawn_detail(x, before, before.copy(), still, parts, blur=4)).max() == 0
    assert np.abs(redrawn_detail(before, before, after, still, parts, blur=0)).max() < 1e-3


def test_hair_changes_in_tone_and_parts_do_not_tint_each_other() -> None:
    """Hair gets 40 levels of light and other strands, skin beside it gets 30 levels less."""
    parts = np.full((128, 128), PARTS.index("skin"), np.uint8)
    parts[:64] = PARTS.index("hair")
    strands = 30 * np.random.default_rng(0).normal(size=(128, 128, 1)).astype(np.float32)
    x = before = smooth(128, 0)
    hair = (np.arange(128) < 64)[:, None, None]
    after = before + np.where(hair, 40 + strands, -30).astype(np.float32)
    kept = after - redrawn_detail(x, before, after, None, parts, blur=4) - before
    assert np.abs(kept[:60] - 40).mean() < 3
    assert np.abs(kept[:60] - 40).max() < 15
    assert np.abs(kept[80:] + 30).max() < 2  # 11 if both were blurred together
    assert np.abs(kept[66:70]).max() < 20, "changes of skin fade towards its outline"


def test_hair_keeps_its_contrast_in_proportion_to_its_tone() -> None:
    """Strands of 10 levels on dark hair, of tone 40, that becomes 100 levels lighter."""
    parts = np.full((128, 128), PARTS.index("hair"), np.uint8)
    strands = 10 * np.sin(np.arange(128, dtype=np.float32))[:, None, None]
    x = np.full((128, 128, 3), 40, np.float32) + strands
    before = np.full_like(x, 50)
    for change, contrast in (
        (100, (140 + TONE_FLOOR) / (40 + TONE_FLOOR)),
        (-20, (20 + TONE_FLOOR) / (40 + TONE_FLOOR)),
        (0, 1),
    ):
        after = before + change
        found = after + transferred_residual(x, before, None, 1, 1, redrawn_detail(x, before, after, None, parts, 4))
        assert abs((found - x)[32:96].mean() - change) < 3
        assert found[32:96].std() == pytest.approx(contrast * x[32:96].std(), rel=0.05)


def test_what_is_unlike_the_hair_around_it_is_not_dyed() -> None:
    parts = np.full((128, 128), PARTS.index("hair"), np.uint8)
    x = np.full((128, 128, 3), 40, np.float32)
    x[:, 60:64] = 240
    before = np.full_like(x, 50)
    found = before + 80 - redrawn_detail(x, before, before + 80, None, parts, 4) - before
    assert found[:, 60:64].mean() < 20
    assert found[:, :40].mean() > 78


def test_places_unlike_the_photo_take_the_change_of_the_face_around() -> None:
    """An edit adds 10 levels of light to a face, and 90 to hair that the photo doesn't have."""
    parts = np.full((256, 256), PARTS.index("skin"), np.uint8)
    strand = np.zeros((256, 256, 1), np.float32)
    strand[:, 120:132] = 1
    x = smooth(256, 0)
    before = x - 80 * strand
    after = before + 10 + 80 * strand
    kept = after - redrawn_detail(x, before, after, None, parts, blur=1) - before
    assert np.abs(kept[:, 120:132] - 10).mean() < 15
    assert np.abs(kept[:, :90] - 10).max() < 0.5
    known = after - redrawn_detail(before, before, after, None, parts, blur=1) - before
    assert known[:, 124:128].min() > 80


def test_teeth_keep_their_colour() -> None:
    parts = np.full((128, 128), PARTS.index("skin"), np.uint8)
    parts[48:80, 40:88] = PARTS.index("mouth")
    x = smooth(128, 0)
    flow = np.full((128, 128, 2), 2, np.float32)
    kept = x + 30 - redrawn_detail(x, x, x + 30, flow, parts, blur=4) - warp(x, flow)
    assert np.abs(kept[52:74, 42:82]).max() < 1
    assert np.abs(kept[:40] - (x + 30 - warp(x, flow))[:40]).mean() < 4
