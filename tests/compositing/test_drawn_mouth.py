"""Colours of mouths that a generator draws anew."""

import numpy as np
import pytest
from shapes import face_parts

from oodinv.compositing.drawn_mouth import with_drawn_mouth
from oodinv.compositing.regions.base import Place
from oodinv.faces.parts import PARTS

SIZE = 512
SKIN, LIP, TEETH = (200, 160, 140), (180, 90, 90), (215, 210, 195)
"""Colours of the photo."""
OTHER_SKIN, OTHER_LIP, OTHER_TEETH = (180, 140, 120), (200, 60, 90), (190, 180, 150)
"""Colours of the generator."""


def mouth_of(parts: np.ndarray, teeth: bool) -> np.ndarray:
    """The label map with teeth between the lips, if asked for."""
    y, x = np.mgrid[0:128, 0:128]
    return np.where(teeth & (np.hypot((x - 63.5) / 10, (y - 96) / 3) < 1), PARTS.index("mouth"), parts)


def painted(parts: np.ndarray, skin: tuple[int, ...], lip: tuple[int, ...], teeth: tuple[int, ...]) -> np.ndarray:
    """A picture with these colours, float32 (SIZE, SIZE, 3)."""
    picture = np.full((128, 128, 3), skin, np.float32)
    picture[parts == PARTS.index("lip")] = lip
    picture[parts == PARTS.index("mouth")] = teeth
    return picture.repeat(SIZE // 128, axis=0).repeat(SIZE // 128, axis=1)


def middle(picture: np.ndarray, parts: np.ndarray, name: str) -> np.ndarray:
    """Mean colour of a part."""
    where = (parts == PARTS.index(name)).repeat(SIZE // 128, axis=0).repeat(SIZE // 128, axis=1)
    return picture[where].mean(axis=0)


@pytest.mark.parametrize(("opens", "was_open"), [(True, True), (False, True), (True, False)])
def test_lips_and_teeth_get_the_colours_of_the_photo(opens: bool, was_open: bool) -> None:
    face = face_parts(hat=False)
    before_parts, after_parts = mouth_of(face, was_open), mouth_of(face, opens)
    crop = painted(before_parts, SKIN, LIP, TEETH)
    before = painted(before_parts, OTHER_SKIN, OTHER_LIP, OTHER_TEETH)
    after = painted(after_parts, OTHER_SKIN, OTHER_LIP, OTHER_TEETH)
    place = Place(before_parts, drawn=("lip", "mouth"))
    result = after + with_drawn_mouth(np.zeros_like(crop), crop, before, after, None, place)
    np.testing.assert_allclose(middle(result, after_parts, "lip"), LIP, atol=10)
    if opens and was_open:
        np.testing.assert_allclose(middle(result, after_parts, "mouth"), TEETH, atol=12)
    elif opens:  # the photo shows no teeth: they get the light of the skin, which is 20 levels lighter
        np.testing.assert_allclose(middle(result, after_parts, "mouth"), np.add(OTHER_TEETH, 20), atol=8)


def test_elsewhere_and_without_a_drawn_mouth_the_residual_stays() -> None:
    parts = face_parts(hat=False)
    crop, before = painted(parts, SKIN, LIP, TEETH), painted(parts, OTHER_SKIN, OTHER_LIP, OTHER_TEETH)
    residual = crop - before
    drawn = with_drawn_mouth(residual, crop, before, before, None, Place(parts, drawn=("lip", "mouth")))
    assert np.array_equal(drawn[: SIZE // 2], residual[: SIZE // 2])
    assert with_drawn_mouth(residual, crop, before, before, None, Place(parts, drawn=("skin",))) is residual
