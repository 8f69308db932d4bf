"""Choosing among faces, on built photos; a tiny detector and a framing registered from outside."""

import sys
import types
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from shapes import smooth

from oodinv.errors import NoFaceError
from oodinv.faces import detectors, framing
from oodinv.faces.align import align
from oodinv.faces.detectors import load_detector
from oodinv.faces.detectors.base import Face
from oodinv.faces.framing.base import Framing
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.selection import Likeness, Selection, outside, select, sharpness
from oodinv.recipe.card import Crop
from oodinv.records import Choice

# Eyes, nose and mouth corners of a typical face, in units of the FFHQ square, which is the unit square here.
TYPICAL = np.array([[0.375, 0.475], [0.625, 0.475], [0.5, 0.61], [0.395, 0.72], [0.605, 0.72]])


def face(x: float, y: float, size: float, score: float = 0.9) -> Face:
    points = TYPICAL * size + (x, y)
    return Face(points, points, score, "tiny")


def detailed(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A photo with detail of every size, as sharp as a photo can be."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.normal(size=(height // step + 2, width // step + 2, 3)), (width, height)) * step
        for step in (1, 2, 4, 8)
    ]
    return (128 + 12 * np.sum(layers, axis=0) / 2).clip(0, 255).astype(np.uint8)


PHOTO = detailed(400, 900)
FACES = [face(20, 100, 100, 0.95), face(200, 50, 300, 0.8), face(650, 120, 200, 0.9)]


@pytest.mark.parametrize(
    ("selection", "kept"),
    [
        (Selection(), [0, 1, 2]),
        (Selection(faces="largest"), [1]),
        (Selection(faces=2), [1, 2]),
        (Selection(faces=9), [0, 1, 2]),
        (Selection(min_size=150), [1, 2]),
        (Selection(min_score=0.85), [0, 2]),
        (Selection(min_score=0.85, faces="largest"), [2]),
        (Selection(indices=frozenset({0, 2})), [0, 2]),
        (Selection(indices=frozenset({7})), []),
    ],
)
def test_selected_and_dropped_faces_are_all_faces_in_order(selection: Selection, kept: list[int]) -> None:
    chosen, dropped = select(PHOTO, FACES, selection)
    assert chosen == [FACES[index] for index in kept]
    assert [one.index for one in dropped] == [index for index in range(3) if index not in kept]
    assert all(one.face is FACES[one.index] and one.reason for one in dropped)


def test_reasons_say_what_was_wanted() -> None:
    _, dropped = select(PHOTO, FACES, Selection(min_size=150, min_score=0.85, faces="largest"))
    assert [one.reason for one in dropped] == ["100 px wide, less than 150", "score 0.80, less than 0.85"]


def test_a_blurred_passer_by_is_dropped_and_a_sharp_one_kept() -> None:
    photo = PHOTO.copy()
    photo[:, :190] = cv2.GaussianBlur(photo, (0, 0), 4.0)[:, :190]
    chosen, (passer_by,) = select(photo, FACES, Selection())
    assert chosen == FACES[1:]
    assert passer_by.index == 0
    assert "blurred" in passer_by.reason
    assert len(select(photo, FACES, Selection(min_sharpness=0))[0]) == 3


def test_the_main_face_is_kept_though_it_is_blurred() -> None:
    photo = cv2.GaussianBlur(PHOTO, (0, 0), 8.0)
    photo[:, :190] = PHOTO[:, :190]
    chosen, _ = select(photo, FACES, Selection())
    assert FACES[1] in chosen


@pytest.mark.parametrize("gain", [0.2, 1.0])
def test_sharpness_falls_with_blur_and_not_with_exposure(gain: float) -> None:
    photo = (PHOTO * gain).astype(np.uint8)
    levels = [sharpness(cv2.GaussianBlur(photo, (0, 0), s) if s else photo, FACES[1]) for s in (0, 2, 4, 8)]
    assert levels[0] > 0.9
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] < 0.2


def test_a_smooth_picture_drops_no_face() -> None:
    grey = np.full((400, 900, 3), 90, np.uint8)
    assert len(select(grey, FACES, Selection())[0]) == 3
    assert len(select(smooth(900, 0).astype(np.uint8)[:400], FACES, Selection())[0]) >= 1


def test_a_person_is_found_by_likeness() -> None:
    shown = iter([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])

    def embed(crop: np.ndarray) -> np.ndarray:
        assert crop.shape == (256, 256, 3)
        return np.array(next(shown))

    wanted = Likeness(embed, np.array([[0.0, 1.0], [0.0, -1.0]]), threshold=0.9)
    chosen, dropped = select(PHOTO, FACES, Selection(like=wanted))
    assert chosen == [FACES[2]]
    assert [one.reason for one in dropped] == [
        "another person: similarity 0.00, less than 0.9",
        "another person: similarity 0.80, less than 0.9",
    ]


@pytest.mark.parametrize(
    ("moved", "hidden"),
    [
        ((0, -160), ("left eye", "right eye")),
        ((0, 230), ("left mouth corner", "right mouth corner")),
        ((-330, 0), ("left eye", "left mouth corner")),
        ((560, 0), ("right eye", "right mouth corner")),
        ((0, 0), ()),
        ((-305, 0), ()),  # an eye's centre lies on the border, and half of the face in the photo
    ],
)
def test_points_that_a_photo_does_not_show_are_named(moved: tuple[float, float], hidden: tuple[str, ...]) -> None:
    one = face(200 + moved[0], 0 + moved[1], 280)
    assert outside(one, PHOTO, 0.05) == hidden


class Tiny:
    """Reports faces at given places."""

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)

    def detect(self, pixels: np.ndarray) -> list[Face]:
        assert pixels.ndim == 3
        return self.faces


def test_a_cut_off_face_is_refused_or_flagged() -> None:
    hidden = face(100, -160, 300)
    with pytest.raises(NoFaceError, match=r"of 1 face found none.*face 0: cut off.*left eye and right eye"):
        align(PHOTO, Tiny(hidden), 64, ffhq_quad)
    beside = align(PHOTO, Tiny(hidden, FACES[2]), 64, ffhq_quad)
    assert [one.face for one in beside.faces] == [FACES[2]]
    assert [one.index for one in beside.dropped] == [0]
    (flagged,) = align(PHOTO, Tiny(hidden), 64, ffhq_quad, Selection(cut_off=True)).faces
    assert flagged.cut_off == ("left eye", "right eye")
    assert '"cut_off": [\n  "left eye",\n  "right eye"\n ]' in flagged.to_json()


def test_a_point_just_outside_the_photo_is_flagged() -> None:
    near = face(100, 0, 300)
    near = replace(near, points=near.points - [0, near.points[:, 1].min() + 4])
    (flagged,) = align(PHOTO, Tiny(near), 64, ffhq_quad).faces
    assert flagged.cut_off
    assert set(flagged.cut_off) <= {"left eye", "right eye"}


def test_a_detector_is_one_module_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("tiny_detector")
    vars(module)["load"] = lambda fetch, _device: Tiny(face(0, 0, float(fetch("weights").name)))
    monkeypatch.setitem(sys.modules, "tiny_detector", module)
    monkeypatch.setattr(detectors, "DETECTORS", (*detectors.DETECTORS, Choice("tiny", "a test", "tiny_detector")))
    detector = load_detector("tiny", lambda entry: Path(entry).with_name("50"), "cpu")
    assert detector.detect(PHOTO)[0].points.max() == pytest.approx(36)
    with pytest.raises(ValueError, match=r"yunet, .*tiny"):
        load_detector("other", Path, "cpu")


def test_a_framing_is_one_value_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="there are ffhq"):
        Crop(framing="passport")
    passport = Framing("passport", lambda points, scale: ffhq_quad(points, 2 * scale))
    monkeypatch.setattr(framing, "FRAMINGS", (*framing.FRAMINGS, passport))
    card = Crop(framing="passport", scale=0.5)
    (found,) = align(PHOTO, Tiny(FACES[1]), 32, card.quad).faces
    np.testing.assert_allclose(found.quad, ffhq_quad(FACES[1].points))
    assert replace(found, quad=card.quad(FACES[1].points)).quad.shape == (4, 2)
