import numpy as np

from oodinv.editing.apply import InvertedFace
from oodinv.inversion import Artefacts, Subject


def test_a_face_that_was_just_inverted_keeps_its_own_noise() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    noise = {"noise_4": np.ones((1, 4, 4), np.float16)}
    made = Artefacts(Subject("a", picture, None), np.zeros((2, 4), np.float32), {}, picture, picture, picture, noise)
    face = InvertedFace.of(made)
    np.testing.assert_array_equal(face.noise["noise_4"], 1)
    assert face.placement is None
