"""Where edits may change a photo: ellipses, and hair that only gets another colour."""

import cv2
import numpy as np
import pytest
from pydantic import ValidationError
from shapes import smooth

from oodinv.compositing import composition, regions
from oodinv.compositing.compose import Drawn, compose_edit
from oodinv.compositing.composition import Composition
from oodinv.compositing.regions import REGIONS, load_region
from oodinv.compositing.regions.base import Change, Region
from oodinv.compositing.regions.expression import untinted
from oodinv.compositing.regions.hair import guided, hair_change
from oodinv.compositing.tones import deep_kept
from oodinv.faces.geometry import face_weight, features_weight
from oodinv.imaging.flow import moved
from oodinv.imaging.pixels import Flow, Levels, Mask, luma
from oodinv.records import Choice


def limited(before: Levels, after: Levels, unedited: Levels, flow: Flow | None, *, area: str) -> Levels:
    """An edit of an FFHQ crop, limited to a region."""
    return load_region(area).limit(Change(before, after, unedited, flow, 1.0))


def test_an_edit_stays_on_the_face() -> None:
    before = smooth(128, 0)
    after = 1.2 * before
    y = limited(before, after, before, None, area="face")
    np.testing.assert_allclose(y[40:100, 45:83], after[40:100, 45:83], atol=1e-2)
    np.testing.assert_array_equal(y[:, :13], before[:, :13])
    np.testing.assert_array_equal(y[:8, :30], before[:8, :30])
    assert limited(before, after, before, None, area="crop") is after
    tight, wide = (face_weight(128, scale).mean() for scale in (0.8, 1.0))
    assert tight > wide


def test_what_was_drawn_wrong_beside_the_features_stays() -> None:
    """A wall of 200 levels where the generator drew skin of 120, right of the face; the edit darkens all by 30."""
    before = np.full((128, 128, 3), 200, np.float32)
    unedited = before.copy()
    unedited[:, 90:] = 120
    change = before - limited(before, before - 30, unedited, None, area="face")
    np.testing.assert_allclose(change[60:80, 30:84], 30, atol=1)
    assert change[60:80, 98:].max() < 1


def test_around_the_features_an_edit_draws_nothing() -> None:
    before, after = smooth(128, 0) + 40, smooth(128, 1) + 40
    y = limited(before, after, before, None, area="features")
    np.testing.assert_allclose(y[55:80, 55:73], after[55:80, 55:73], atol=1e-3)
    around = np.hypot((np.arange(128) - 63.5) / 33, (np.arange(128)[:, None] - 67.3) / 47) > 1
    np.testing.assert_array_equal(y[around], before[around])
    assert not np.array_equal(limited(before, after, before, None, area="face")[around], before[around])


def head(hair: float, skin: float, wall: float, rim: int = 0) -> np.ndarray:
    """Hair around a face, on a wall, float32 (128, 128, 3), in three levels; rim: by how much the hair is wider."""
    y, x = np.mgrid[0:128, 0:128]
    face = np.hypot((x - 63.5) / 36, (y - 74) / 50) < 1
    cap = np.hypot((x - 63.5) / (52 + rim), (y - 68) / (66 + rim)) < 1
    return np.where(face, skin, np.where(cap, hair, wall))[..., None].astype(np.float32).repeat(3, axis=2)


def strands() -> np.ndarray:
    """Fine structure of 8 levels, float32 (128, 128, 1)."""
    return 8 * np.random.default_rng(0).normal(size=(128, 128, 1)).astype(np.float32)


def test_hair_gets_another_colour_and_nothing_else_does() -> None:
    """A generator draws hair 3 pixels wider than it is, lighter and then thinner, and cools skin and wall a little."""
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


def test_shadows_change_in_proportion_and_what_is_drawn_anew_covers_them() -> None:
    """A tone of 20 levels on 16, 64 and 150, and teeth of 230 in a mouth of 16."""
    before = np.broadcast_to(np.array([16, 64, 150, 16], np.float32)[:, None, None], (4, 2, 3))
    change = np.broadcast_to(np.array([20, 20, 20, 214], np.float32)[:, None, None], (4, 2, 3))
    found = deep_kept(np.ascontiguousarray(before), np.ascontiguousarray(change))
    np.testing.assert_allclose(found[:, 0, 0], [5, 20, 20, 214], atol=1)


def test_an_expression_brings_no_tint() -> None:
    """The change makes the whole picture redder and darker; it gets darker alone, by the same on every channel."""
    before = np.full((128, 128, 3), 190, np.float32)
    after = before + np.array([8, -12, -16], np.float32)
    change = limited(before, after, before, None, area="expression") - before
    for row, column in ((68, 30), (70, 50), (95, 64)):
        np.testing.assert_allclose(change[row, column], luma(after - before)[row, column], atol=0.1)


def test_an_expression_shows_teeth_between_lips() -> None:
    """Teeth a twenty-fifth of the crop high get 90 levels greener and bluer, but no redder, than the lips they part."""
    change = np.zeros((128, 128, 3), np.float32)
    change[94:99, 50:78] = (30, 120, 120)
    found = untinted(change)
    np.testing.assert_allclose(luma(found), luma(change), atol=0.1)
    np.testing.assert_allclose(found[96, 64], change[96, 64], atol=20)
    assert np.abs(found[:80] - change[:80]).max() < 4


def test_corners_of_a_wide_mouth_are_features() -> None:
    """They lie where FFHQ's alignment puts them, at 0.745 of the height; the cheeks beside the nose are none."""
    weight = features_weight(256, 1.0)
    assert weight[191, [96, 160]].min() > 0.99
    assert weight[191, [72, 184]].max() < 0.01
    assert weight[136, [60, 195]].max() < 0.01


def test_a_pose_draws_nothing() -> None:
    before, flow = smooth(128, 0), np.full((128, 128, 2), 1.5, np.float32)
    assert limited(before, before + 30, before, None, area="pose") is before
    np.testing.assert_array_equal(limited(before, before + 30, before, flow, area="pose"), moved(before, flow))


def test_black_hair_keeps_its_depth() -> None:
    before = head(16, 190, 230)
    change = np.where(before == 16, 40, 0).astype(np.float32)
    found = hair_change(before, change, before)[6:20, 50:78]
    assert 5 < found.mean() < 12  # of 40; hair of 64 levels gets it all


def test_hair_that_does_not_change_stays() -> None:
    before = head(60, 190, 230) + strands()
    np.testing.assert_array_equal(hair_change(before, np.zeros_like(before), before), 0)


def test_on_an_even_guide_a_change_becomes_its_mean() -> None:
    change = smooth(64, 0)
    even = guided(change, np.full((64, 64), 90, np.float32), np.ones((64, 64), np.float32))
    window = change[32 - 16 : 32 + 17, 32 - 16 : 32 + 17]  # the mean of the means of 17 x 17
    weights = np.convolve(np.ones(17), np.ones(17))
    expected = np.einsum("i,j,ijc->c", weights, weights, window) / weights.sum() ** 2
    np.testing.assert_allclose(even[32, 32], expected, rtol=1e-3)


def test_a_change_that_follows_the_guide_keeps_its_edges() -> None:
    guide = head(40, 200, 200)[..., 0]
    change = np.where(guide < 100, 30, 0)[..., None].astype(np.float32).repeat(3, axis=2)
    even = guided(change, guide, np.ones((128, 128), np.float32))
    np.testing.assert_allclose(even[8:120, 8:120], change[8:120, 8:120], atol=4)
    assert cv2.blur(change, (33, 33))[24, 64, 0] < 25  # where a plain mean has lost it


def test_pixels_of_no_weight_do_not_count() -> None:
    change, weight = np.zeros((64, 64, 3), np.float32), np.ones((64, 64), np.float32)
    change[20:30, 20:30], weight[20:30, 20:30] = 90, 0
    even = guided(change, np.full((64, 64), 90, np.float32), weight)
    assert np.abs(even).max() < 0.5


class Corner(Region):
    """Changes the top left quarter of a crop; a region from outside the package."""

    def reach(self, size: int, crop_scale: float) -> Mask:  # noqa: ARG002
        corner = np.zeros((size, size), np.float32)
        corner[: size // 2, : size // 2] = 1
        return corner

    def limit(self, change: Change) -> Levels:
        reach = self.reach(len(change.before), change.crop_scale)[..., None]
        return change.before + reach * (change.after - change.before)


REGION = Corner()


def test_a_region_from_outside_needs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = (*REGIONS, Choice("corner", "the top left quarter", __name__))
    for module in (regions, composition):
        monkeypatch.setattr(module, "REGIONS", listed)
    before, after = smooth(64, 0), smooth(64, 1)
    drawn = Drawn(before, before, after, np.zeros((64, 64), np.float32), None)
    composite, along = compose_edit(drawn, before, Composition(area="corner"), 1.0)
    np.testing.assert_allclose(composite[:32, :32], after[:32, :32], atol=1e-4)
    np.testing.assert_array_equal(composite[32:], before[32:])
    assert along is None


def test_an_unknown_region_is_named_with_those_there_are() -> None:
    with pytest.raises(ValidationError, match=r"no area is named 'feature'; .*; did you mean features"):
        Composition(area="feature")
