import numpy as np
import pytest

from oodinv.editing.apply import InvertedFace
from oodinv.inversion import Artefacts, Subject


@pytest.mark.parametrize("refined", [True, False])
def test_edits_start_from_the_pivot_of_a_refined_face(refined: bool) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    w_plus = np.zeros((2, 4), np.float32)
    pivot = w_plus + 1 if refined else None
    made = Artefacts(Subject("a", picture, None), w_plus, {}, picture, picture, picture, pivot=pivot)
    face = InvertedFace.of(made)
    np.testing.assert_array_equal(face.w_plus, w_plus + refined)
    assert face.placement is None
