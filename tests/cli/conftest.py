"""Inversions that tests of several commands share."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from command import call_here
from edit_command import NAMES, oodinv

from oodinv.directions import Direction, write


@pytest.fixture(scope="session")
def place(samples: Path, tiny_card: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: two photos, their inversion `out`, two directions, recipes."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "photos").mkdir()
    for name in NAMES:
        shutil.copy(samples / f"{name}.jpg", folder / "photos")
    done = oodinv("invert", folder / "photos", "-o", folder / "out", "--model", tiny_card, "--quiet")
    assert done.exit_code == 0, done.output
    rng = torch.Generator().manual_seed(1)
    for name in ("first", "second"):
        vector = torch.randn(8, 16, generator=rng)
        write(folder / f"{name}.safetensors", Direction(name, "tiny", vector, safe_range=(-2.0, 2.0)))
    recipes = {
        "one": "edits: [{direction: first, strength: 1}]",
        "zero": "edits: [{direction: first, strength: 0}, {direction: second, strength: 0}]",
        "ab": "edits: [{direction: first, strength: 1}, {direction: second, strength: -0.7}]",
        "ba": "edits: [{direction: second, strength: -0.7}, {direction: first, strength: 1}]",
        "sweep": "edits: [{direction: first, strengths: [-1, 0, 1]}]",
        "far": "edits: [{direction: first, strength: 9}]",
        "target": "edits: [{direction: first, target: 0.5}]",
        "mix": "mix: {person: rishi-sunak, layers: [4, 5, 6, 7]}",
        "missing": "edits: [{direction: third, strength: 1}]",
        "stranger": "interpolate: {person: nobody, amount: 0.5}",
        "layer": "edits: [{direction: first, strength: 1, layers: [8]}]",
    }
    for name, text in recipes.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, as the current one."""
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="session")
def inverted(samples: Path, tiny_card: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of a run over the samples."""
    out = tmp_path_factory.mktemp("inverted")
    done = call_here("invert", samples, "-o", out, "--model", tiny_card, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["total"], summary["done"], summary["failed"]) == (5, 5, [])
    return out
