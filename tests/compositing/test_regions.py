"""Regions: limits of edits to parts of the face, what is kept and what is changed, and registration."""

import numpy as np
import pytest
from pydantic import ValidationError
from shapes import face_parts, smooth

from oodinv.compositing import composition, regions
from oodinv.compositing.compose import CompositionInputs, compose_edit
from oodinv.compositing.composition import Composition
from oodinv.compositing.regions import REGIONS, load_region
from oodinv.compositing.regions.base import EditedCrop, Place, Region
from oodinv.faces.parts import PARTS, part_weight
from oodinv.imaging.flow import warp
from oodinv.imaging.pixels import Levels
from oodinv.records import Choice

BEFORE = np.full((128, 128, 3), 90, np.float32)
AFTER = BEFORE + 60


def change(area: str, place: Place) -> np.ndarray:
    """Share of a change of 60 levels that a region lets through, (128, 128)."""
    return (load_region(area).limit(EditedCrop(BEFORE, AFTER, None, place))[..., 0] - 90) / 60


@pytest.mark.parametrize(
    ("area", "changed"),
    [
        ("face", {"skin", "nose", "eye", "brow", "ear", "mouth", "lip", "hair"}),
        ("skin", {"skin", "nose", "eye", "brow", "ear", "mouth", "lip"}),
        ("hair", {"hair"}),
        ("crop", {*PARTS} - {"glasses", "hat", "earring", "necklace", "cloth"}),
    ],
)
def test_a_region_changes_its_parts_and_no_others(area: str, changed: set[str]) -> None:
    for part in PARTS:
        parts = np.full((128, 128), PARTS.index(part), np.uint8)
        np.testing.assert_allclose(change(area, Place(parts)), float(part in changed), atol=1e-5)


def test_borders_of_parts_are_soft() -> None:
    share = change("hair", Place(face_parts(hat=False)))[:, 64]
    assert np.abs(np.diff(share)).max() < 0.5
    assert share[14] > 0.99
    assert share[64] < 0.01


def test_kept_parts_and_their_borders_do_not_change() -> None:
    parts = face_parts(hat=True)
    assert change("face", Place(parts))[parts == PARTS.index("hat")].max() < 0.02
    assert change("face", Place(parts, kept=()))[parts == PARTS.index("skin")].mean() > 0.9
    kept = change("face", Place(parts, kept=("skin", "hair", "hat")))
    assert kept[74:84, 40:88].max() < 0.02


def test_changed_parts_change_even_where_the_mask_keeps_the_photo() -> None:
    parts = face_parts(hat=True)
    mask = np.isin(parts, [PARTS.index("hat")]).astype(np.float32)
    inputs = CompositionInputs(BEFORE, BEFORE, AFTER, mask, None)
    hat = mask.astype(bool)
    hat[18:] = False  # well inside
    kept, _ = compose_edit(inputs, BEFORE, Composition(), Place(parts))
    np.testing.assert_allclose(kept[hat], 90, atol=1)
    changed, _ = compose_edit(inputs, BEFORE, Composition(change=("hat",)), Place(parts, changed=("hat",)))
    assert changed[4:14, 50:78].min() > 140


def test_change_all_reaches_the_whole_crop() -> None:
    how = Composition(area="crop", change="all")
    assert how.changed_parts == PARTS
    parts, mask = face_parts(hat=True), np.ones((128, 128), np.float32)
    found, _ = compose_edit(
        CompositionInputs(BEFORE, BEFORE, AFTER, mask, None), BEFORE, how, Place(parts, None, PARTS)
    )
    np.testing.assert_allclose(found, AFTER, atol=1e-3)


def test_a_part_is_either_kept_or_changed() -> None:
    with pytest.raises(ValidationError, match="keep and change both name hat; name each part once"):
        Composition(keep=("hat", "glasses"), change=("hat",))


def test_motion_is_smooth_within_the_face_and_ends_at_hair_and_outline() -> None:
    """Flow of one pixel with noise, beside 50 pixels in the background, which must not reach the face."""
    parts = np.full((256, 256), PARTS.index("background"), np.uint8)
    parts[60:220, 50:206] = PARTS.index("skin")
    parts[20:60, 50:206] = PARTS.index("hair")
    parts[100:110, 80:120] = PARTS.index("eye")
    rng = np.random.default_rng(0)
    flow = np.where((parts == PARTS.index("background"))[..., None], 50, 1).astype(np.float32)
    flow = flow + rng.normal(size=(256, 256, 2)).astype(np.float32)
    steady = load_region("face").steadied(flow, Place(parts))
    assert np.abs(steady[120:190, 80:180] - 1).max() < 0.5
    np.testing.assert_allclose(steady[102:108, 84:116], flow[102:108, 84:116], atol=0.5)
    assert np.abs(steady[:56]).max() < 0.1
    assert np.abs(steady[:, 215:]).max() < 0.1
    assert np.abs(np.diff(steady[:, 128], axis=0)).max() < 0.5
    assert load_region("pose").steadied(flow, Place(parts)) is flow


def test_pose_region_shows_no_generated_pixels() -> None:
    before, flow = smooth(128, 0), np.full((128, 128, 2), 1.5, np.float32)
    pose, place = load_region("pose"), Place(face_parts(hat=False))
    assert pose.limit(EditedCrop(before, before + 30, None, place)) is before
    np.testing.assert_array_equal(pose.limit(EditedCrop(before, before + 30, flow, place)), warp(before, flow))


def test_a_hat_turns_with_the_head_and_clothes_stay() -> None:
    parts = face_parts(hat=True)
    flow = np.ones((128, 128, 2), np.float32)
    pose, free = load_region("pose"), np.zeros((128, 128), np.float32)
    moved = pose.detail_flow(flow, free, 1.0, Place(parts))
    assert moved is not None
    assert moved[4:14, 50:78].min() > 0.95
    assert np.abs(moved[parts == PARTS.index("cloth")]).max() < 0.5
    assert np.abs(moved[124:, :20]).max() < 0.02
    stays = pose.detail_flow(flow, free, 1.0, Place(parts, kept=("hat",)))
    assert stays is not None
    assert np.abs(stays[4:14, 50:78]).max() < 0.02


def test_what_is_behind_the_head_moves_with_its_outline_and_nothing_tears() -> None:
    parts, free = face_parts(hat=True), np.zeros((128, 128), np.float32)
    moved = load_region("pose").detail_flow(np.full((128, 128, 2), 4, np.float32), free, 1.0, Place(parts))
    assert moved is not None
    assert moved[parts == PARTS.index("background")].max() > 3.9
    steps = [np.abs(np.diff(moved[..., 0], axis=axis)).max() for axis in (0, 1)]
    assert max(steps) < 1  # else pixels would swap places


def test_weights_of_parts_reach_as_far_as_asked() -> None:
    parts = np.zeros((128, 128), np.uint8)
    parts[:, :64] = PARTS.index("hair")
    near, far = part_weight(parts, ["hair"], 256), part_weight(parts, ["hair"], 256, reach=1 / 16)
    assert near.shape == far.shape == (256, 256)
    assert near[128, 127] == pytest.approx(0.5, abs=0.1)
    assert far[128, 127 + 16] == pytest.approx(0.5, abs=0.1)
    assert part_weight(parts, ["hat"], 256).max() == 0


class Corner(Region):
    """Region of the top left quarter of a crop, defined outside the package."""

    def limit(self, edit: EditedCrop) -> Levels:
        corner = np.zeros(edit.before.shape, np.float32)
        corner[: len(corner) // 2, : len(corner) // 2] = 1
        return edit.before + corner * (edit.after - edit.before)


REGION = Corner()


def test_a_region_from_outside_is_registered_by_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = (*REGIONS, Choice("corner", "the top left quarter", __name__))
    for module in (regions, composition):
        monkeypatch.setattr(module, "REGIONS", listed)
    before, after = smooth(64, 0), smooth(64, 1)
    inputs = CompositionInputs(before, before, after, np.zeros((64, 64), np.float32), None)
    composite, detail_flow = compose_edit(inputs, before, Composition(area="corner"), Place(face_parts(hat=False)))
    np.testing.assert_allclose(composite[:32, :32], after[:32, :32], atol=1e-4)
    np.testing.assert_array_equal(composite[32:], before[32:])
    assert detail_flow is None


def test_an_unknown_region_is_rejected_with_a_suggestion() -> None:
    with pytest.raises(ValidationError, match=r"no area is named 'hairs'; .*; did you mean hair"):
        Composition(area="hairs")
