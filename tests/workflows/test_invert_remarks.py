"""Remarks of `invert` on faces that the generator can't draw."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from shapes import face_parts

from oodinv.faces.parts import FACE_PARTS, PARTS
from oodinv.inversion import Artefacts, Subject
from oodinv.runs.sources.base import Job
from oodinv.workflows.invert import Inverted, InvertStages, Portrait, face_mask

PARTS_OF_FACE = np.isin(face_parts(hat=False), [PARTS.index(name) for name in FACE_PARTS])


def artefacts(name: str, on_face: int, elsewhere: int) -> Artefacts:
    """A face of 128 px whose mask has one level on the face and another one elsewhere."""
    mask = np.where(PARTS_OF_FACE, on_face, elsewhere).astype(np.uint8)
    picture = np.zeros((128, 128, 3), np.uint8)
    parts = {"parts": face_parts(hat=False)}
    return Artefacts(Subject(name, picture, None), np.zeros((2, 4), np.float32), parts, mask, picture, picture)


def test_the_mask_of_a_face_is_its_mean_on_the_face() -> None:
    assert face_mask(artefacts("a", 204, 0)) == pytest.approx(0.8, abs=0.03)
    assert face_mask(artefacts("a", 0, 255)) == pytest.approx(0.0, abs=0.03)


def test_a_face_that_is_mostly_copied_gets_a_remark() -> None:
    portrait = Portrait(Job(Path("p.jpg"), "p"), [], b"", None, ["face 2 left out: it is blurred"])
    results = Inverted(portrait, [artefacts("p.0", 20, 255), artefacts("p.1", 240, 0)])
    first, second = InvertStages.remarks(SimpleNamespace(), results)  # type: ignore[arg-type]
    assert first == "face 2 left out: it is blurred"
    assert second.startswith("p.1: 9")
    assert second.endswith("of the face is copied from the photo, since the generator can't draw it; edits show little")
