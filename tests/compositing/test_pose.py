"""Estimated head rotation: known ones are recovered, other changes give none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import smooth

from oodinv.compositing.regions.pose import MAX_MOTION, head_turn_flow
from oodinv.faces.geometry import head_depth
from oodinv.imaging.flow import resize_flow, warp

OUTSIDE = np.hypot((np.arange(128) - 63.5) / 44, (np.arange(128)[:, None] - 67.3) / 62) > 1  # of a head, at scale 1


def portrait(size: int = 128) -> np.ndarray:
    """Picture (size, size, 3) with structure at several scales."""
    rng = np.random.default_rng(0)
    coarse = [np.kron(rng.normal(size=(size // n, size // n, 1)), np.ones((n, n, 1))) for n in (4, 8, 16)]
    return np.asarray(smooth(size, 0) + 12 * sum(coarse), dtype=np.float32)


def rotated(before: np.ndarray, yaw: float, nod: float, shift: float = 0, scale: float = 0) -> np.ndarray:
    """Rotates a head, given the sines of two angles, then shifts it by pixels and scales it."""
    size = before.shape[0]
    flow = np.stack([yaw * head_depth(size, 1.0), nod * head_depth(size, 1.0)], axis=2) * size
    flow += shift
    flow[..., 0] += scale * (np.arange(size) - size / 2)
    return warp(before, flow.astype(np.float32))


NOTHING = np.zeros((128, 128), np.float32)


@pytest.mark.parametrize(("yaw", "nod"), [(0.08, 0.0), (-0.12, 0.04), (0.0, -0.06)])
def test_a_rotation_is_recovered(yaw: float, nod: float) -> None:
    before = portrait()
    flow = head_turn_flow(before, rotated(before, yaw, nod), NOTHING, 1.0)
    expected = np.stack([yaw * head_depth(128, 1.0), nod * head_depth(128, 1.0)], axis=2) * 128
    np.testing.assert_allclose(flow, expected, atol=0.1 * np.abs(expected).max())


def test_a_rotation_is_recovered_under_changes_of_light_and_framing() -> None:
    """Light increases to the right, and the head shifts by 1.5 pixels and grows by 2 %."""
    before = portrait()
    after = rotated(before, 0.1, 0, shift=1.5, scale=0.02) + np.linspace(-25, 25, 128, dtype=np.float32)[:, None]
    flow = head_turn_flow(before, after, NOTHING, 1.0)
    np.testing.assert_allclose(flow[70, 60:68, 0], 0.1 * head_depth(128, 1.0)[70, 60:68] * 128, rtol=0.15)


def test_the_outline_of_the_head_does_not_move() -> None:
    before = portrait()
    flow = head_turn_flow(before, rotated(before, 0.1, 0.05, shift=1), NOTHING, 1.0)
    assert np.abs(flow[OUTSIDE]).max() < 1e-6
    assert np.hypot(*flow[70, 64]) > 3


def test_a_large_crop_gives_the_same_rotation_as_a_small_one() -> None:
    before = np.kron(portrait(), np.ones((4, 4, 1), np.float32))
    found = head_turn_flow(before, rotated(before, 0.1, 0), np.zeros((512, 512), np.float32), 1.0)
    assert found.shape == (128, 128, 2)
    flow = resize_flow(found, 512)
    np.testing.assert_allclose(flow[..., 0], 0.1 * head_depth(512, 1.0) * 512, atol=2.5)


def test_masked_pixels_are_excluded_from_the_fit() -> None:
    """A hand that does not move covers the right half of the face."""
    before, hand = portrait(), NOTHING.copy()
    hand[:, 66:] = 1
    after = np.where(hand[..., None] > 0, before, rotated(before, 0.1, 0))
    excluded, included = (head_turn_flow(before, after, mask, 1.0)[70, 56, 0] for mask in (hand, NOTHING))
    expected = 0.1 * head_depth(128, 1.0)[70, 56] * 128
    assert excluded == pytest.approx(expected, rel=0.25)
    assert included < 0.7 * expected
    np.testing.assert_array_equal(head_turn_flow(before, after, np.ones_like(hand), 1.0), 0)


def test_a_wider_mouth_is_not_taken_for_a_rotation() -> None:
    before, flow = portrait(), np.zeros((128, 128, 2), np.float32)
    y, x = np.mgrid[0:128, 0:128] - np.array([96, 63.5])[:, None, None]
    flow[..., 0] = -0.3 * x * np.exp(-(np.square(x / 14) + np.square(y / 8)) / 2)
    found = head_turn_flow(before, warp(before, flow), NOTHING, 1.0)
    assert np.abs(flow).max() > 2.5
    assert np.abs(found).max() < 0.6
    assert np.abs(head_turn_flow(before, before, NOTHING, 1.0)).max() < 1e-3


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([16, 48, 64]), st.floats(0.5, 1.5))
def test_the_flow_between_any_two_pictures_is_bounded(seed: int, size: int, crop_scale: float) -> None:
    rng = np.random.default_rng(seed)
    before, after = rng.uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    flow = head_turn_flow(before, after, (rng.random((size, size)) < rng.random()).astype(np.float32), crop_scale)
    assert np.isfinite(flow).all()
    assert np.abs(flow).max() <= MAX_MOTION * head_depth(size, crop_scale).max() * size / crop_scale * 1.001


def test_the_largest_rotation_does_not_fold_the_photo() -> None:
    slopes = np.gradient(head_depth(512, 1.0), 1 / 512)
    assert MAX_MOTION * max(np.abs(slope).max() for slope in slopes) < 1
