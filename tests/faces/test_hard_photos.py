"""Photos in which faces are hard to find, built from the samples: lying faces, bad exposure, faces that are cut off."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oodinv.errors import NoFaceError
from oodinv.faces.align import align
from oodinv.faces.crop import crop
from oodinv.faces.detectors.yunet import Yunet
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.selection import LARGEST, Selection
from oodinv.imaging.decode import read_photo
from oodinv.weights.pull import pull


@pytest.fixture(scope="module")
def yunet() -> Yunet:
    return Yunet(pull("yunet"))


@pytest.fixture(scope="module")
def portraits(yunet: Yunet, samples: Path) -> list[np.ndarray]:
    """Two faces, cut out with their surroundings."""
    found = []
    for path in [path for path in sorted(samples.iterdir()) if path.suffix != ".md"][:2]:
        pixels = read_photo(path).pixels
        quad = align(pixels, yunet, 8, lambda points: ffhq_quad(points, 1.1), LARGEST).faces[0].quad
        found.append(crop(pixels, quad, 400))
    return found


@pytest.mark.parametrize("turns", [1, 3])
@pytest.mark.parametrize("side", [400, 160])
def test_a_face_on_its_side_is_found_beside_an_upright_one(
    side: int, turns: int, yunet: Yunet, portraits: list[np.ndarray]
) -> None:
    photo = np.full((400, 820, 3), 128, np.uint8)
    photo[:, :400] = portraits[0]
    lying = np.rot90(np.asarray(Image.fromarray(portraits[1]).resize((side, side))), turns)
    photo[:side, 410 : 410 + side] = lying
    upright, turned = align(photo, yunet, 64, ffhq_quad, Selection(min_sharpness=0)).faces
    assert abs(upright.quad[3] - upright.quad[0])[1] < 60
    down = turned.quad[1] - turned.quad[0]
    assert abs(down[0]) > 4 * abs(down[1])


@pytest.mark.parametrize("gain", [0.03, 0.05, 0.08])
def test_a_face_is_found_in_an_underexposed_photo(gain: float, yunet: Yunet, portraits: list[np.ndarray]) -> None:
    for portrait in portraits:
        dark = np.rint(portrait * gain).astype(np.uint8)
        (expected,), (found,) = (align(photo, yunet, 64, ffhq_quad).faces for photo in (portrait, dark))
        assert np.abs(found.quad - expected.quad).max() < 0.12 * 400
        assert found.crop.mean() < 255 * gain  # the crop is the photo's own, not the copy with stretched tones


@pytest.mark.parametrize(("contrast", "light"), [(0.12, 190), (0.05, 120)])
def test_a_face_is_found_in_a_flat_photo(
    contrast: float, light: int, yunet: Yunet, portraits: list[np.ndarray]
) -> None:
    flat = (portraits[0] * contrast + light).astype(np.uint8)
    assert len(align(flat, yunet, 64, ffhq_quad).faces) == 1


@pytest.mark.parametrize("frame", [0, 255])
@pytest.mark.parametrize(("contrast", "light"), [(0.03, 0), (0.05, 0), (0.06, 180)])
def test_a_dark_or_flat_face_is_found_beside_black_and_white(
    contrast: float, light: int, frame: int, yunet: Yunet, portraits: list[np.ndarray]
) -> None:
    """As with a lamp in the picture, a stamp, or a frame around it."""
    photo = np.full((480, 700, 3), frame, np.uint8)
    photo[40:440, 40:440] = portraits[0] * contrast + light
    (found,) = align(photo, yunet, 64, ffhq_quad).faces
    (expected,) = align(portraits[0], yunet, 64, ffhq_quad).faces
    assert np.abs(found.quad - 40 - expected.quad).max() < 0.12 * 400


def test_a_face_without_eyes_is_refused_or_not_seen(yunet: Yunet, portraits: list[np.ndarray]) -> None:
    for portrait in portraits:
        below_the_eyes = portrait[230:]
        with pytest.raises(NoFaceError, match=r"cut off|no face found"):
            align(below_the_eyes, yunet, 64, ffhq_quad)
