"""Composites: identities, closed forms, invariance outside the edit, and registration of techniques."""

import numpy as np
import pytest
from shapes import disc, face_parts, smooth

from oodinv.compositing import composition as composition_module
from oodinv.compositing import techniques
from oodinv.compositing.compose import CompositionInputs, compose, compose_edit, edit_flow, feathered, thresholded
from oodinv.compositing.composition import Composition
from oodinv.compositing.paste_back import Patch, paste
from oodinv.compositing.regions.base import Place
from oodinv.compositing.regions.pose import dense_areas
from oodinv.compositing.techniques import TECHNIQUES, laplacian
from oodinv.compositing.techniques.poisson import membrane, seamless
from oodinv.faces.crop import crop
from oodinv.faces.geometry import head_depth
from oodinv.faces.quads import square
from oodinv.imaging.flow import warp
from oodinv.imaging.pixels import Levels, Mask
from oodinv.records import Choice

PLACE = Place(face_parts(hat=False))


def edited(
    x: np.ndarray, before: np.ndarray, after: np.ndarray, composition: Composition
) -> tuple[np.ndarray, np.ndarray | None]:
    """Composites the edit of crop x from one generated picture to another, with an empty mask."""
    mask = np.zeros(x.shape[:2], np.float32)
    inputs = CompositionInputs(x, before, after, mask, edit_flow(before, after, mask, composition, 1.0))
    return compose_edit(inputs, compose(x, before, mask, composition), composition, PLACE)


@pytest.mark.parametrize("technique", ["mask", "laplacian", "poisson"])
def test_equal_pictures_are_unchanged(technique: str) -> None:
    x, mask = smooth(64, 0), np.random.default_rng(1).random((64, 64)).astype(np.float32)
    joined = compose(x, x.copy(), mask, Composition(technique=technique, feather=3, detail=1, colour=1))
    np.testing.assert_allclose(joined, x, atol=2e-3)


def test_mask_technique_is_the_documented_formula() -> None:
    x, g, mask = smooth(32, 0), smooth(32, 1), np.random.default_rng(2).random((32, 32)).astype(np.float32)
    expected = mask[..., None].astype(float) * x + (1 - mask[..., None].astype(float)) * g
    np.testing.assert_allclose(compose(x, g, mask, Composition()), expected, atol=1e-4)


@pytest.mark.parametrize(("value", "which"), [(1.0, 0), (0.0, 1)])
def test_laplacian_with_a_constant_mask_returns_one_picture(value: float, which: int) -> None:
    pictures = smooth(64, 0), smooth(64, 1)
    joined = laplacian.join(*pictures, np.full((64, 64), value, np.float32))
    np.testing.assert_allclose(joined, pictures[which], atol=1e-3)


def test_laplacian_blends_a_step_over_a_wide_seam() -> None:
    low, high = np.full((64, 64, 3), 50, np.float32), np.full((64, 64, 3), 200, np.float32)
    mask = np.zeros((64, 64), np.float32)
    mask[:, :32] = 1
    row = laplacian.join(low, high, mask)[32, :, 0]
    assert np.abs(np.diff(row)).max() < 15  # the mask alone would jump by 150
    assert row[0] < 60
    assert row[-1] > 190


@pytest.mark.parametrize("size", [48, 160])
def test_membrane_is_harmonic(size: int) -> None:
    """a + bx + cy + dxy is harmonic, on the grid as well."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    harmonic = np.stack([10 + 40 * x, 30 * y - 20 * x, 50 * x * y], axis=2)
    known = np.zeros((size, size), bool)
    known[[0, -1]] = known[:, [0, -1]] = True
    start = np.where(known[..., None], harmonic, 99).astype(np.float32)
    np.testing.assert_allclose(membrane(start, known), harmonic, atol=0.05 if size <= 64 else 1.0)


def test_poisson_preserves_gradients_up_to_a_linear_offset() -> None:
    """In one dimension, y − g is linear between the values of x − g at both ends of the generated part."""
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


def test_mask_values_up_to_the_threshold_become_zero() -> None:
    mask = np.array([[0.0, 0.5, 0.75, 1.0]], np.float32)
    assert thresholded(mask, 0.5).tolist() == [[0, 0, 0.5, 1]]
    assert thresholded(mask, 0) is mask
    x, g = (np.full((1, 4, 3), level, np.float32) for level in (100, 20))
    joined = compose(x, g, mask, Composition(keep_above=0.5))
    assert joined[0, :, 0].tolist() == [20, 20, 60, 100]


def test_feathering_decreases_no_mask_value() -> None:
    mask = 1 - disc(64)
    soft = feathered(mask, 8)
    assert (soft >= mask).all()
    assert ((soft > 0.05) & (soft < 0.95)).sum() > 100
    assert feathered(mask, 0) is mask


def test_restored_detail_preserves_the_edit() -> None:
    """A local change of colour is preserved, in proportion where x is darker; far from it y equals x."""
    x, before = smooth(64, 0), smooth(64, 1)
    after = before.copy()
    after[20:44, 20:44] += 6
    y = edited(x, before, after, Composition(detail=1, colour=1, area="crop"))[0]
    np.testing.assert_allclose((y - x)[28:36, 28:36], 6, atol=3)
    np.testing.assert_allclose(y[:6], x[:6], atol=1.5)


def test_pose_edit_warps_the_photo() -> None:
    """An edit rotates a head and adds a green cast, which must not appear; masked letters on the cheek do not move."""
    x = smooth(128, 0) + 20 * np.random.default_rng(0).normal(size=(128, 128, 1)).astype(np.float32)
    rotation = np.stack([0.1 * 128 * head_depth(128, 1.0), np.zeros((128, 128))], axis=2).astype(np.float32)
    turned = warp(x, rotation)
    y, flow = edited(x, x, turned + np.array([0, 20, 0], np.float32), Composition(area="pose"))
    assert flow is not None
    np.testing.assert_array_equal(y, warp(x, flow))
    features = np.s_[50:100, 45:83]
    assert np.abs(y - turned)[features].mean() < 0.2 * np.abs(x - turned)[features].mean()
    np.testing.assert_allclose(y[:, :18], x[:, :18], atol=1e-3)
    mask = np.zeros((128, 128), np.float32)
    mask[50:110, 10:60] = 1
    pose = Composition(area="pose")
    inputs = CompositionInputs(x, x, turned, mask, edit_flow(x, turned, mask, pose, 1.0))
    stays, _ = compose_edit(inputs, x, pose, PLACE)
    letters = np.s_[62:98, 22:48]
    assert np.abs(stays - x)[letters].mean() < 0.05 * np.abs(turned - x)[letters].mean()


def test_thin_masked_areas_are_not_dense() -> None:
    """In a crop of 128 pixels, a bar 4 pixels high follows the head, a square of 48 pixels does not."""
    bar, square = np.zeros((2, 128, 128), np.float32)
    bar[80:84, 48:80] = 1
    square[40:88, 40:88] = 1
    np.testing.assert_array_equal(dense_areas(bar), 0)
    assert dense_areas(square)[44:84, 44:84].min() > 0.4
    assert dense_areas(square)[56:72, 56:72].min() > 0.99
    np.testing.assert_allclose(dense_areas(np.ones((64, 64), np.float32)), 1)


def test_pasting_at_the_scale_of_the_crop_gives_the_composite() -> None:
    wide = smooth(140, 0) + 20 * np.random.default_rng(0).normal(size=(140, 140, 1)).astype(np.float32)
    x, drawn = (np.rint(wide[6:134, c : c + 128]).clip(0, 255).astype(np.float32) for c in (6, 4))
    y, flow = edited(x, x, drawn, Composition(detail=1))
    photo = np.rint(wide).clip(0, 255).astype(np.uint8)
    quad = square(np.array([70.0, 70.0]), np.array([64.0, 0.0]))
    pasted = paste(photo, [Patch(quad, x.astype(np.uint8), np.rint(y).clip(0, 255).astype(np.uint8), flow)])
    inner = np.s_[30:98, 30:98]
    np.testing.assert_allclose(pasted[6:134, 6:134][inner], y[inner].clip(0, 255), atol=2)


def test_pasting_leaves_masked_pixels_unchanged() -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(40, 210, (200, 220, 3), dtype=np.uint8)
    quad = square(np.array([110.0, 100.0]), np.array([70.0, 20.0]))
    x = crop(photo, quad, 64)
    mask = np.zeros((64, 64), np.float32)
    mask[:, :32] = 1  # the left half is copied from the crop
    g = smooth(64, 1)
    edited = g + 20
    composites = [
        np.rint(compose(x.astype(np.float32), p, mask, Composition())).clip(0, 255).astype(np.uint8)
        for p in (g, edited)
    ]
    same = paste(photo, [Patch(quad, composites[0], composites[0])])
    np.testing.assert_array_equal(same, photo)
    pasted = paste(photo, [Patch(quad, *composites)])
    matrix = np.linalg.inv(np.column_stack([quad[3] - quad[0], quad[1] - quad[0]]))
    yy, xx = np.mgrid[0:200, 0:220] + 0.5
    place = (np.stack([xx, yy], axis=2) - quad[0]) @ matrix.T
    kept = place[..., 0] < 0.45
    np.testing.assert_array_equal(pasted[kept], photo[kept])
    changed = ((place > 0.2) & (place < 0.8)).all(axis=2) & (place[..., 0] > 0.6)
    assert (pasted[changed].astype(int) - photo[changed]).mean() > 15


def join(crop: Levels, generated: Levels, mask: Mask) -> Levels:
    """Thresholds the mask at 1/2; a technique defined outside the package."""
    return np.where(mask[..., None] > 0.5, crop, generated)


def test_a_technique_from_outside_is_registered_by_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = (*TECHNIQUES, Choice("hard", "by a threshold", __name__))
    for module in (techniques, composition_module):
        monkeypatch.setattr(module, "TECHNIQUES", listed)
    crop, generated = smooth(32, 0), smooth(32, 1)
    mask = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))
    joined = compose(crop, generated, mask, Composition(technique="hard"))
    np.testing.assert_array_equal(joined[:, :16], generated[:, :16])
    np.testing.assert_array_equal(joined[:, 16:], crop[:, 16:])
