"""Dyed hair, and the matte that limits it."""

import cv2
import numpy as np
import pytest
from shapes import face_parts

from oodinv.compositing.hair_dye import Dye, dyed, hair_matte
from oodinv.compositing.matte import alpha_matte
from oodinv.faces.parts import PARTS, part_weight
from oodinv.imaging.pixels import luma

SIZE = 512
GREY = Dye((134, 133, 130), 1.0)


def hair(parts: np.ndarray) -> np.ndarray:
    """Finds the pixels with the label of hair, bool (SIZE, SIZE)."""
    label = (parts == PARTS.index("hair")).astype(np.uint8)
    return cv2.resize(label, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST) > 0


def portrait(parts: np.ndarray, left: tuple[int, int, int], right: tuple[int, int, int]) -> np.ndarray:
    """Strands of two colours, beside smooth skin and background."""
    picture = np.full((SIZE, SIZE, 3), (200, 160, 140), np.float32)
    picture[hair(parts)] = left
    picture[:, SIZE // 2 :][hair(parts)[:, SIZE // 2 :]] = right
    strands = 1 + 0.3 * np.sin(np.arange(SIZE) / 3)[None, :, None].repeat(SIZE, axis=0)
    return np.where(hair(parts)[..., None], picture * strands, picture).astype(np.float32)


def inside(parts: np.ndarray) -> np.ndarray:
    """Finds the pixels of hair at some distance from everything else, bool (SIZE, SIZE)."""
    return cv2.erode(hair(parts).astype(np.uint8), np.ones((25, 25))) > 0


@pytest.mark.parametrize("own", [(30, 25, 22), (90, 60, 35), (200, 170, 120)])
def test_hair_of_any_colour_takes_that_of_the_dye(own: tuple[int, int, int]) -> None:
    parts = face_parts(hat=False)
    photo = portrait(parts, own, own)
    result = dyed(photo, parts, GREY)
    mean = result[inside(parts)].mean(axis=0)
    np.testing.assert_allclose(mean, GREY.colour, atol=12)
    strands = np.corrcoef(luma(photo)[inside(parts)], luma(result)[inside(parts)])[0, 1]
    assert strands > 0.95
    assert luma(result)[inside(parts)].std() > 8


def test_dark_tops_and_light_ends_become_one_colour() -> None:
    parts = face_parts(hat=False)
    photo = portrait(parts, (30, 25, 22), (200, 170, 120))
    result = dyed(photo, parts, Dye((37, 32, 34), 1.0))

    def apart(picture: np.ndarray) -> float:
        halves = (luma(picture)[:, half][inside(parts)[:, half]] for half in (slice(0, 256), slice(256, 512)))
        left, right = (float(half.mean()) for half in halves)
        return abs(right - left)

    assert apart(result) < apart(photo) / 4


def test_only_hair_changes() -> None:
    parts = face_parts(hat=False)
    photo = portrait(parts, (90, 60, 35), (90, 60, 35))
    far = cv2.dilate(hair(parts).astype(np.uint8), np.ones((61, 61))) == 0
    assert far.mean() > 0.2
    assert np.array_equal(dyed(photo, parts, GREY)[far], photo[far])
    assert np.array_equal(dyed(photo, parts, Dye(GREY.colour, 0.0)), photo)


def test_the_amount_is_the_share_of_the_change() -> None:
    parts = face_parts(hat=False)
    photo = portrait(parts, (90, 60, 35), (90, 60, 35))
    whole, half = (dyed(photo, parts, Dye(GREY.colour, amount)) for amount in (1.0, 0.5))
    np.testing.assert_allclose(half - photo, (whole - photo) / 2, atol=1e-3)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255)])
def test_black_and_white_are_colours_too(colour: tuple[int, int, int]) -> None:
    parts = face_parts(hat=False)
    result = dyed(portrait(parts, (90, 60, 35), (90, 60, 35)), parts, Dye(colour, 1.0))
    assert np.isfinite(result).all()
    assert np.abs(result[inside(parts)].mean() - colour[0]) < 40


def test_a_hat_is_not_dyed_and_a_shaved_head_stays() -> None:
    parts = face_parts(hat=True)
    photo = portrait(parts, (90, 60, 35), (90, 60, 35))
    hat = part_weight(parts, ("hat",), SIZE) > 0.99
    assert hat.sum() > 1000
    assert np.abs(dyed(photo, parts, GREY) - photo)[hat].max() < 0.5
    shaved = np.where(parts == PARTS.index("hair"), PARTS.index("skin"), parts).astype(np.uint8)
    assert dyed(photo, shaved, GREY) is photo


def test_a_matte_follows_the_pictures_edges() -> None:
    """The label's border is up to four pixels beside the true one; the matte's is closer."""
    parts = face_parts(hat=False)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    truth = (np.hypot((x - 254) / 190, (y - 259) / 238) < 1) & ~(np.hypot((x - 254) / 138, (y - 280) / 186) < 1)
    photo = np.where(truth[..., None], np.float32([60, 40, 30]), np.float32([200, 160, 140])).astype(np.float32)
    label = cv2.resize((parts == PARTS.index("hair")).astype(np.float32), (SIZE, SIZE))
    matte = alpha_matte(photo, label)
    assert matte.min() == 0
    assert matte.max() == 1
    assert np.abs(matte - truth).mean() < 0.5 * np.abs(label - truth).mean()
    assert hair_matte(photo, parts).shape == (SIZE, SIZE)
