"""The FFHQ square and the crop, against closed forms and Pillow's own quad transform."""

import cmath
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from oodinv.faces.crop import crop, rough_crop
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.quads import Points, crop_to_photo, quad_side, scale_quad, square, transform
from oodinv.imaging.pixels import Pixels

UPRIGHT = np.array([[-1, 0], [1, 0], [0, 1], [-1, 2], [1, 2]], dtype=np.float64)


def ramp(height: int, width: int) -> np.ndarray:
    """A photo whose red grows with x and green with y, and whose blue falls with both."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.rint(np.stack([20 + x * 0.4, 20 + y * 0.4, 240 - 0.2 * (x + y)], axis=2)).astype(np.uint8)


def ramp_at(points: np.ndarray) -> np.ndarray:
    x, y = points[..., 0], points[..., 1]
    return np.stack([20 + x * 0.4, 20 + y * 0.4, 240 - 0.2 * (x + y)], axis=-1)


Cutter = Callable[[Pixels, Points, int], Pixels]

either = pytest.mark.parametrize("cut", [crop, rough_crop])


def crop_centres(quad: np.ndarray, size: int) -> np.ndarray:
    u, v = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size)
    return quad[0] + u[..., None] * (quad[3] - quad[0]) + v[..., None] * (quad[1] - quad[0])


def test_quad_of_an_upright_face() -> None:
    # Eyes 2 apart, mouth 2 below: half side max(2 · 2, 1.8 · 2) = 4 around (0, 0.2).
    np.testing.assert_allclose(ffhq_quad(UPRIGHT), [[-4, -3.8], [-4, 4.2], [4, 4.2], [4, -3.8]])


def test_quad_of_a_long_face_follows_the_mouth() -> None:
    face = UPRIGHT * (1, 2)
    np.testing.assert_allclose(quad_side(ffhq_quad(face)), 2 * 1.8 * 4)
    np.testing.assert_allclose(quad_side(ffhq_quad(face, 0.7)), 0.7 * 2 * 1.8 * 4)


@given(
    st.floats(0.01, 100), st.floats(-math.pi, math.pi), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(0.3, 1.5)
)
def test_quad_moves_with_the_face(scale: float, turn: float, x: float, y: float, crop_scale: float) -> None:
    face = UPRIGHT + np.array([[0.1, 0], [0, 0.2], [0, 0], [0.1, -0.2], [0.05, 0]])
    factor = cmath.rect(scale, turn)
    matrix = np.array([[factor.real, -factor.imag, x], [factor.imag, factor.real, y]])
    expected = transform(matrix, ffhq_quad(face, crop_scale))
    np.testing.assert_allclose(ffhq_quad(transform(matrix, face), crop_scale), expected, atol=1e-9 * (1e3 + scale))


def test_crop_to_photo_maps_corners() -> None:
    quad = square(np.array([30.0, 40.0]), np.array([5.0, 2.0]))
    corners = np.array([[0, 0], [0, 64], [64, 64], [64, 0]], dtype=np.float64)
    np.testing.assert_allclose(transform(crop_to_photo(quad, 64), corners), quad)


@either
def test_crop_of_whole_pixels_is_the_photo(cut: Cutter) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (90, 80, 3), dtype=np.uint8)
    quad = np.array([[10, 20], [10, 52], [42, 52], [42, 20]], dtype=np.float64)
    np.testing.assert_array_equal(cut(photo, quad, 32), photo[20:52, 10:42])


@pytest.mark.parametrize("size", [16, 50, 64, 200, 512])
@pytest.mark.parametrize("turn", [0.0, 20.0, 77.0, 180.0])
@either
def test_crop_of_a_ramp_is_the_ramp(cut: Cutter, size: int, turn: float) -> None:
    photo = ramp(500, 520)
    direction = 150 * np.array([math.cos(math.radians(turn)), math.sin(math.radians(turn))])
    quad = square(np.array([255.3, 248.9]), direction)
    expected = ramp_at(crop_centres(quad, size))
    # Up to four roundings of half a level: photo, shrunken photo, fine samples, crop.
    assert np.abs(cut(photo, quad, size) - expected).max() <= 1.7


@pytest.mark.parametrize("size", [50, 64, 200, 300, 512])
@pytest.mark.parametrize("turn", [0.0, 20.0, 180.0])
def test_crop_is_displaced_by_no_tenth_of_a_pixel(size: int, turn: float) -> None:
    dither = np.random.default_rng(0).uniform(-8, 8, (500, 520, 3))  # so that no rounding goes one way throughout
    photo = np.rint(ramp(500, 520) + dither).clip(0, 255).astype(np.uint8)
    direction = 150 * np.array([math.cos(math.radians(turn)), math.sin(math.radians(turn))])
    quad = square(np.array([255.3, 248.9]), direction)
    red, green, blue = (crop(photo, quad, size) - ramp_at(crop_centres(quad, size))).mean(axis=(0, 1))
    brighter = (red + green + 2 * blue) / 4  # the ramps' slopes cancel here: 0.4, 0.4 and −0.2 in both directions
    assert abs(brighter) < 0.2
    assert max(abs(red - brighter), abs(green - brighter)) / 0.4 < 0.1


def test_crop_agrees_with_pillow() -> None:
    coarse = np.random.default_rng(1).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((300, 300), Image.Resampling.BICUBIC)
    quad = square(np.array([150.0, 140.0]), np.array([70.0, 31.0]))
    reference = picture.transform((256, 256), Image.Transform.QUAD, quad.flatten().tolist(), Image.Resampling.BICUBIC)
    difference = np.abs(crop(np.asarray(picture), quad, 256).astype(int) - np.asarray(reference))
    assert difference.max() <= 4
    assert difference.mean() < 0.6


def test_crop_does_not_alias() -> None:
    y, x = np.mgrid[:960, :960]
    checkers = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    for size in (100, 300, 500):
        small = crop(checkers, square(np.array([480.0, 480.0]), np.array([400.0, 90.0])), size)
        assert np.abs(small.astype(int) - 127).max() <= 12
        assert small.std() < 4


def test_padding_keeps_the_photo_and_fades_without_an_edge() -> None:
    photo = ramp(200, 200)
    quad = square(np.array([10.0, 100.0]), np.array([80.0, 0.0]))
    padded = crop(photo, quad, 160).astype(int)
    np.testing.assert_allclose(padded[:, 71:], ramp_at(crop_centres(quad, 160))[:, 71:], atol=1.3)
    assert np.abs(np.diff(padded, axis=1)).max() <= 4
    median = np.median(photo[20:180, :94], axis=(0, 1))
    assert np.abs(padded[:, 0] - median).max() <= 6


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (40, 30)])
@either
def test_crop_far_larger_than_the_photo(cut: Cutter, height: int, width: int) -> None:
    photo = np.full((height, width, 3), 90, np.uint8)
    quad = square(np.array([width / 2, height / 2]), np.array([150.0, 20.0]))
    np.testing.assert_array_equal(cut(photo, quad, 64), 90)


@either
def test_crop_outside_the_photo_is_an_error(cut: Cutter) -> None:
    with pytest.raises(ValueError, match="outside"):
        cut(ramp(20, 20), square(np.array([900.0, 900.0]), np.array([5.0, 0.0])), 8)


def test_scale_quad_keeps_the_centre() -> None:
    quad = square(np.array([3.0, 4.0]), np.array([2.0, 1.0]))
    np.testing.assert_allclose(scale_quad(quad, 0.5), square(np.array([3.0, 4.0]), np.array([1.0, 0.5])))
