"""Label maps of faces."""

import numpy as np

from oodinv.faces.parts import PARTS, without_islands


def test_small_pieces_of_skin_and_hair_get_the_label_around_them() -> None:
    skin, hair, eye = (PARTS.index(name) for name in ("skin", "hair", "eye"))
    parts = np.full((128, 128), skin, np.uint8)
    parts[:40] = hair
    wanted = parts.copy()
    parts[80:82, 60] = hair
    parts[10:13, 20:24] = skin
    parts[60:63, 40:46] = wanted[60:63, 40:46] = eye
    np.testing.assert_array_equal(without_islands(parts), wanted)
    np.testing.assert_array_equal(without_islands(wanted), wanted)
