"""The model that ships, on faces that its training left out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[1]


SETS = ("celeba", "utk")


@pytest.fixture(scope="module")
def measured(shared: Path) -> dict[str, dict[str, float]]:
    """What the script that fills the model's card prints, for a few faces of each set."""
    script = [sys.executable, str(REPOSITORY / "bench" / "heldout.py")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    found: dict[str, dict[str, float]] = {}
    for name in SETS:
        command = [*script, str(shared / "faces" / name), "--limit", "64", "--json"]
        found[name] = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    return found


@pytest.fixture(params=SETS)
def figures(request: pytest.FixtureRequest, measured: dict[str, dict[str, float]]) -> dict[str, float]:
    return measured[request.param]


def test_faces_are_recognisable_and_composites_near_the_photo(figures: dict[str, float]) -> None:
    assert figures["faces"] == 64
    assert figures["generated_lpips"] < 0.12
    assert figures["generated_psnr"] > 22
    assert figures["composite_lpips"] < 0.05
    assert 0.05 < figures["mask_area"] < 0.30


def test_both_sets_together_do_better_than_asked(measured: dict[str, dict[str, float]]) -> None:
    means = {key: sum(some[key] for some in measured.values()) / len(SETS) for key in measured["celeba"]}
    assert means["generated_psnr"] > 23
    assert means["composite_lpips"] < 0.046


def test_flows_bring_the_in_domain_region_nearer(figures: dict[str, float]) -> None:
    assert figures["in_domain_psnr"] > figures["in_domain_psnr_without_flow"] + 1.5


@pytest.mark.parametrize(("outline", "least"), [("shape", 3.6), ("text", 3.0), ("hat", 6.0), ("limb", 3.5)])
def test_masks_find_what_was_pasted_on(figures: dict[str, float], outline: str, least: float) -> None:
    assert figures[f"mask_on_{outline}_over_skin"] > least
