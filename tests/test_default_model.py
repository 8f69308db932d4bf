"""The model that ships, on faces that its training left out."""

import contextlib
import io
import json
import sys
from pathlib import Path
from unittest import mock

import heldout
import pytest

pytestmark = pytest.mark.slow

OCCLUDERS = ("shape", "hat", "limb")


def measured(faces: Path, *options: str) -> dict[str, float]:
    """Figures that `bench/heldout.py` prints."""
    argv = mock.patch.object(sys, "argv", ["heldout.py", str(faces), "--aligned", "--json", *options])
    still = mock.patch.object(heldout, "without_flow", lambda batch: batch.full)  # nothing here looks at it
    with argv, still, contextlib.redirect_stdout(io.StringIO()) as printed:
        heldout.main()
    found: dict[str, float] = json.loads(printed.getvalue())
    return found


@pytest.fixture(scope="module")
def encoded(shared: Path) -> dict[str, float]:
    """Of the encoder and SAMM alone."""
    labels = ("--labels", str(shared / "faces/labels"))
    occluders = ("--occluded", "4", "--outlines", ",".join(OCCLUDERS))
    return measured(shared / "faces/celebahq", "--refine", "0", "--limit", "10", *labels, *occluders)


@pytest.fixture(scope="module")
def refined(shared: Path) -> dict[str, float]:
    """Of the whole inversion of a photo that nobody trained on, with half of the default steps."""
    return measured(shared / "photos/aligned1024", "--all", "--limit", "1", "--occluded", "0", "--refine", "25")


def test_the_encoder_alone_comes_near_the_photo(encoded: dict[str, float]) -> None:
    assert encoded["faces"] == 10
    assert encoded["generated_lpips"] < 0.30
    assert encoded["composite_lpips"] < 0.17
    assert encoded["mask_area"] < 0.34


def test_refined_codes_come_nearer_and_keep_the_person(refined: dict[str, float]) -> None:
    assert refined["faces"] == 1
    assert refined["generated_lpips"] < 0.12
    assert refined["generated_sface"] > 0.60
    assert refined["composite_lpips"] < 0.06


@pytest.mark.parametrize("outline", OCCLUDERS)
def test_masks_find_what_was_pasted_on(encoded: dict[str, float], outline: str) -> None:
    assert encoded[f"mask_on_{outline}_over_skin"] > 1.5


@pytest.mark.parametrize("part", ["cloth", "earring"])
def test_masks_keep_what_labels_say_is_not_the_face(encoded: dict[str, float], part: str) -> None:
    assert encoded[f"mask_on_{part}"] > 1.5 * encoded["mask_on_skin"]
