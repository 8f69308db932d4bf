"""Regions: limits of edits to the face and its features, changes of hair colour, and registration."""

import cv2
import numpy as np
import pytest
from pydantic import ValidationError
from shapes import smooth

from oodinv.compositing import composition, regions
from oodinv.compositing.compose import CompositionInputs, compose_edit
from oodinv.compositing.composition import Composition
from oodinv.compositing.regions import REGIONS, load_region
from oodinv.compositing.regions.base import EditedCrop, Region
from oodinv.compositing.regions.expression import untinted
from oodinv.compositing.regions.hair import guided_filter, hair_change
from oodinv.compositing.tones import spare_shadows
from oodinv.faces.geometry import face_weight, features_weight
from oodinv.imaging.flow import warp
from oodinv.imaging.pixels import Flow, Levels, Mask, luma
from oodinv.records import Choice


def limited(before: Levels, after: Levels, unedited: Levels, flow: Flow | None, *, area: str) -> Levels:
    """Limits an edit of an FFHQ crop to a region."""
    return load_region(area).limit(EditedCrop(before, after, unedited, flow, 1.0))


def test_face_region_limits_an_edit_to_the_face() -> None:
    before = smooth(128, 0)
    after = 1.2 * before
    y = limited(before, after, before, None, area="face")
    np.testing.assert_allclose(y[40:100, 45:83], after[40:100, 45:83], atol=1e-2)
    np.testing.assert_array_equal(y[:, :13], before[:, :13])
    np.testing.assert_array_equal(y[:8, :30], before[:8, :30])
    assert limited(before, after, before, None, area="crop") is after
    tight, wide = (face_weight(128, scale).mean() for scale in (0.8, 1.0))
    assert tight > wide


def test_face_region_excludes_badly_reconstructed_pixels_outside_the_features() -> None:
    """Right of the face the photo has a wall of 200 levels, the generated picture skin of 120."""
    before = np.full((128, 128, 3), 200, np.float32)
    unedited = before.copy()
    unedited[:, 90:] = 120
    change = before - limited(before, before - 30, unedited, None, area="face")
    np.testing.assert_allclose(change[60:80, 30:84], 30, atol=1)
    assert change[60:80, 98:].max() < 1


def test_features_region_shows_no_generated_pixels_around_the_features() -> None:
    before, after = smooth(128, 0) + 40, smooth(128, 1) + 40
    y = limited(before, after, before, None, area="features")
    np.testing.assert_allclose(y[55:80, 55:73], after[55:80, 55:73], atol=1e-3)
    around = np.hypot((np.arange(128) - 63.5) / 33, (np.arange(128)[:, None] - 67.3) / 47) > 1
    np.testing.assert_array_equal(y[around], before[around])
    assert not np.array_equal(limited(before, after, before, None, area="face")[around], before[around])


def head(hair: float, skin: float, wall: float, rim: int = 0) -> np.ndarray:
    """Head with hair before a wall, float32 (128, 128, 3), in three grey levels; rim: pixels added around the hair."""
    y, x = np.mgrid[0:128, 0:128]
    face = np.hypot((x - 63.5) / 36, (y - 74) / 50) < 1
    cap = np.hypot((x - 63.5) / (52 + rim), (y - 68) / (66 + rim)) < 1
    return np.where(face, skin, np.where(cap, hair, wall))[..., None].astype(np.float32).repeat(3, axis=2)


def strands() -> np.ndarray:
    """Fine structure of 8 levels, float32 (128, 128, 1)."""
    return 8 * np.random.default_rng(0).normal(size=(128, 128, 1)).astype(np.float32)


def test_hair_region_changes_the_hair_only() -> None:
    """Generated hair is 3 pixels wider than the photo's; the edit thins it and darkens skin and wall a little."""
    before = head(90, 190, 230) + strands()
    unedited, edited = head(90, 190, 230, rim=3), head(130, 184, 226)
    y = limited(before, before + edited - unedited, unedited, None, area="hair")
    change = (y - before).mean(axis=2)
    kind = head(0, 1, 2)[..., 0]
    crown = (slice(6, 20), slice(50, 78))
    assert change[crown].min() > 25
    assert change[crown].std() < 3  # the strands stay as they are
    assert np.abs(change[kind == 1]).max() < 4
    assert np.abs(change[kind == 1]).mean() < 0.5
    assert np.abs(change[kind == 2]).mean() < 0.5
    np.testing.assert_array_equal(y[:3, :3], before[:3, :3])


def test_tones_are_proportional_in_shadows_and_new_content_is_not() -> None:
    """A change by 20 levels at 16, 64 and 150, and teeth of 230 in a mouth of 16."""
    before = np.broadcast_to(np.array([16, 64, 150, 16], np.float32)[:, None, None], (4, 2, 3))
    change = np.broadcast_to(np.array([20, 20, 20, 214], np.float32)[:, None, None], (4, 2, 3))
    found = spare_shadows(np.ascontiguousarray(before), np.ascontiguousarray(change))
    np.testing.assert_allclose(found[:, 0, 0], [5, 20, 20, 214], atol=1)


def test_expression_region_removes_tints() -> None:
    """Of a change to redder and darker, only the darkening remains, equal on all channels."""
    before = np.full((128, 128, 3), 190, np.float32)
    after = before + np.array([8, -12, -16], np.float32)
    change = limited(before, after, before, None, area="expression") - before
    for row, column in ((68, 30), (70, 50), (95, 64)):
        np.testing.assert_allclose(change[row, column], luma(after - before)[row, column], atol=0.1)


def test_expression_region_preserves_teeth_between_lips() -> None:
    """Teeth, 1/25 of the crop high, gain 90 levels more of green and blue than of red."""
    change = np.zeros((128, 128, 3), np.float32)
    change[94:99, 50:78] = (30, 120, 120)
    found = untinted(change)
    np.testing.assert_allclose(luma(found), luma(change), atol=0.1)
    np.testing.assert_allclose(found[96, 64], change[96, 64], atol=20)
    assert np.abs(found[:80] - change[:80]).max() < 4


def test_features_include_the_corners_of_a_wide_mouth() -> None:
    """FFHQ's alignment puts them at 0.745 of the height; the cheeks beside the nose are excluded."""
    weight = features_weight(256, 1.0)
    assert weight[191, [96, 160]].min() > 0.99
    assert weight[191, [72, 184]].max() < 0.01
    assert weight[136, [60, 195]].max() < 0.01


def test_pose_region_shows_no_generated_pixels() -> None:
    before, flow = smooth(128, 0), np.full((128, 128, 2), 1.5, np.float32)
    assert limited(before, before + 30, before, None, area="pose") is before
    np.testing.assert_array_equal(limited(before, before + 30, before, flow, area="pose"), warp(before, flow))


def test_black_hair_is_lightened_in_proportion() -> None:
    before = head(16, 190, 230)
    change = np.where(before == 16, 40, 0).astype(np.float32)
    found = hair_change(before, change, before)[6:20, 50:78]
    assert 5 < found.mean() < 12  # of 40; hair of 64 levels gets it all


def test_hair_change_of_a_zero_change_is_zero() -> None:
    before = head(60, 190, 230) + strands()
    np.testing.assert_array_equal(hair_change(before, np.zeros_like(before), before), 0)


def test_guided_filter_with_a_constant_guide_is_a_mean_filter() -> None:
    change = smooth(64, 0)
    even = guided_filter(change, np.full((64, 64), 90, np.float32), np.ones((64, 64), np.float32))
    window = change[32 - 16 : 32 + 17, 32 - 16 : 32 + 17]  # the mean of the means of 17 x 17
    weights = np.convolve(np.ones(17), np.ones(17))
    expected = np.einsum("i,j,ijc->c", weights, weights, window) / weights.sum() ** 2
    np.testing.assert_allclose(even[32, 32], expected, rtol=1e-3)


def test_guided_filter_preserves_edges_of_the_guide() -> None:
    guide = head(40, 200, 200)[..., 0]
    change = np.where(guide < 100, 30, 0)[..., None].astype(np.float32).repeat(3, axis=2)
    even = guided_filter(change, guide, np.ones((128, 128), np.float32))
    np.testing.assert_allclose(even[8:120, 8:120], change[8:120, 8:120], atol=4)
    assert cv2.blur(change, (33, 33))[24, 64, 0] < 25  # a plain mean blurs it


def test_guided_filter_ignores_pixels_of_weight_zero() -> None:
    change, weight = np.zeros((64, 64, 3), np.float32), np.ones((64, 64), np.float32)
    change[20:30, 20:30], weight[20:30, 20:30] = 90, 0
    even = guided_filter(change, np.full((64, 64), 90, np.float32), weight)
    assert np.abs(even).max() < 0.5


class Corner(Region):
    """Region of the top left quarter of a crop, defined outside the package."""

    def weight(self, size: int, crop_scale: float) -> Mask:  # noqa: ARG002
        corner = np.zeros((size, size), np.float32)
        corner[: size // 2, : size // 2] = 1
        return corner

    def limit(self, edit: EditedCrop) -> Levels:
        weight = self.weight(len(edit.before), edit.crop_scale)[..., None]
        return edit.before + weight * (edit.after - edit.before)


REGION = Corner()


def test_a_region_from_outside_is_registered_by_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = (*REGIONS, Choice("corner", "the top left quarter", __name__))
    for module in (regions, composition):
        monkeypatch.setattr(module, "REGIONS", listed)
    before, after = smooth(64, 0), smooth(64, 1)
    inputs = CompositionInputs(before, before, after, np.zeros((64, 64), np.float32), None)
    composite, detail_flow = compose_edit(inputs, before, Composition(area="corner"), 1.0)
    np.testing.assert_allclose(composite[:32, :32], after[:32, :32], atol=1e-4)
    np.testing.assert_array_equal(composite[32:], before[32:])
    assert detail_flow is None


def test_an_unknown_region_is_rejected_with_a_suggestion() -> None:
    with pytest.raises(ValidationError, match=r"no area is named 'feature'; .*; did you mean features"):
        Composition(area="feature")
