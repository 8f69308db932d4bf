"""Joining what is drawn and what is kept: identities, closed forms, and what must not change."""

import numpy as np
import pytest
from shapes import disc, smooth

from oodinv.compositing import composition as composition_module
from oodinv.compositing import techniques
from oodinv.compositing.compose import Drawn, compose, compose_edit, feathered, movement, raised
from oodinv.compositing.composition import Composition
from oodinv.compositing.paste_back import Edit, paste
from oodinv.compositing.regions.pose import lumps
from oodinv.compositing.techniques import TECHNIQUES, laplacian
from oodinv.compositing.techniques.poisson import membrane, seamless
from oodinv.faces.crop import crop
from oodinv.faces.geometry import head_depth
from oodinv.faces.quads import square
from oodinv.imaging.flow import moved
from oodinv.imaging.pixels import Levels, Mask
from oodinv.records import Choice


def edited(
    x: np.ndarray, before: np.ndarray, after: np.ndarray, composition: Composition
) -> tuple[np.ndarray, np.ndarray | None]:
    """An edit from one picture that a generator drew of x to another, where the mask keeps nothing."""
    mask = np.zeros(x.shape[:2], np.float32)
    drawn = Drawn(x, before, after, mask, movement(before, after, mask, composition, 1.0))
    return compose_edit(drawn, compose(x, before, mask, composition), composition, 1.0)


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
    joined = laplacian.join(*pictures, np.full((64, 64), value, np.float32))
    np.testing.assert_allclose(joined, pictures[which], atol=1e-3)


def test_a_pyramid_blends_a_step_over_a_wide_seam() -> None:
    low, high = np.full((64, 64, 3), 50, np.float32), np.full((64, 64, 3), 200, np.float32)
    mask = np.zeros((64, 64), np.float32)
    mask[:, :32] = 1
    row = laplacian.join(low, high, mask)[32, :, 0]
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


def test_an_edit_is_kept_when_lost_detail_comes_back() -> None:
    """A change of colour in one place survives, in proportion where x is darker; far from it the photo is back."""
    x, before = smooth(64, 0), smooth(64, 1)
    after = before.copy()
    after[20:44, 20:44] += 25
    y = edited(x, before, after, Composition(detail=1, colour=1, area="crop"))[0]
    expected = 25 * np.minimum(1, x / before)
    np.testing.assert_allclose((y - x)[28:36, 28:36], expected[28:36, 28:36], atol=3)
    np.testing.assert_allclose(y[:6], x[:6], atol=1.5)


def test_a_turned_head_is_the_photo_that_moved() -> None:
    """An edit turns a head and gives it a green cast, which arrives nowhere; letters on the cheek stay readable."""
    x = smooth(128, 0) + 20 * np.random.default_rng(0).normal(size=(128, 128, 1)).astype(np.float32)
    along = np.stack([0.1 * 128 * head_depth(128, 1.0), np.zeros((128, 128))], axis=2).astype(np.float32)
    turned = moved(x, along)
    y, flow = edited(x, x, turned + np.array([0, 20, 0], np.float32), Composition(area="pose"))
    assert flow is not None
    np.testing.assert_array_equal(y, moved(x, flow))
    features = np.s_[50:100, 45:83]
    assert np.abs(y - turned)[features].mean() < 0.2 * np.abs(x - turned)[features].mean()
    np.testing.assert_allclose(y[:, :18], x[:, :18], atol=1e-3)
    mask = np.zeros((128, 128), np.float32)
    mask[50:110, 10:60] = 1
    pose = Composition(area="pose")
    drawn = Drawn(x, x, turned, mask, movement(x, turned, mask, pose, 1.0))
    stays, _ = compose_edit(drawn, x, pose, 1.0)
    letters = np.s_[62:98, 22:48]
    assert np.abs(stays - x)[letters].mean() < 0.05 * np.abs(turned - x)[letters].mean()


def test_a_moustache_is_no_lump() -> None:
    """A bar of 4 pixels' height moves with a head of 128, a square of 48 doesn't."""
    bar, square = np.zeros((2, 128, 128), np.float32)
    bar[80:84, 48:80] = 1
    square[40:88, 40:88] = 1
    np.testing.assert_array_equal(lumps(bar), 0)
    assert lumps(square)[44:84, 44:84].min() > 0.4
    assert lumps(square)[56:72, 56:72].min() > 0.99
    np.testing.assert_allclose(lumps(np.ones((64, 64), np.float32)), 1)


def test_what_is_pasted_is_what_was_composed() -> None:
    """At the scale of the crop, a photo that gets an edit back shows the composite."""
    wide = smooth(140, 0) + 20 * np.random.default_rng(0).normal(size=(140, 140, 1)).astype(np.float32)
    x, drawn = (np.rint(wide[6:134, c : c + 128]).clip(0, 255).astype(np.float32) for c in (6, 4))
    y, flow = edited(x, x, drawn, Composition(detail=1, area="features"))
    photo = np.rint(wide).clip(0, 255).astype(np.uint8)
    quad = square(np.array([70.0, 70.0]), np.array([64.0, 0.0]))
    pasted = paste(photo, [Edit(quad, x.astype(np.uint8), np.rint(y).clip(0, 255).astype(np.uint8), flow)])
    inner = np.s_[30:98, 30:98]
    np.testing.assert_allclose(pasted[6:134, 6:134][inner], y[inner], atol=2)


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


def join(crop: Levels, generated: Levels, mask: Mask) -> Levels:
    """Keeps what is kept for more than a half; a technique from outside the package."""
    return np.where(mask[..., None] > 0.5, crop, generated)


def test_a_technique_from_outside_needs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = (*TECHNIQUES, Choice("hard", "by a threshold", __name__))
    for module in (techniques, composition_module):
        monkeypatch.setattr(module, "TECHNIQUES", listed)
    crop, generated = smooth(32, 0), smooth(32, 1)
    mask = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))
    joined = compose(crop, generated, mask, Composition(technique="hard"))
    np.testing.assert_array_equal(joined[:, :16], generated[:, :16])
    np.testing.assert_array_equal(joined[:, 16:], crop[:, 16:])
