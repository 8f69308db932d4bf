"""`oodinv blend`: composes again from what was saved."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import files
from edit_command import NAMES, edited, oodinv, pixels, xmp

from oodinv.runs.runner import alone_in

COMPOSED = {
    "plain": "compose: {}",
    "most": "compose: {keep_above: 0.4, feather: 2, detail: 1, colour: 1, technique: laplacian}",
    "pose": "compose: {area: pose}",
    "skin": "compose: {area: skin, keep: [glasses], change: [hat], detail: 0.5, technique: poisson}",
    "edited": "compose: {detail: 1}\nmask: edited",
    "none": "compose: {detail: 1}",
    "dye": "dye: {colour: red, amount: 0.5}\ncompose: {detail: 1}",
}


@pytest.mark.parametrize("name", COMPOSED)
def test_blend_without_options_changes_nothing_in_an_edit(
    here: Path, tiny_card: Path, tmp_path: Path, name: str
) -> None:
    strength = "strengths: [0, 1]" if name == "none" else "strength: 1"
    (here / f"as-{name}.yaml").write_text(f"edits: [{{direction: first, {strength}}}]\n{COMPOSED[name]}")
    edited(here, tiny_card, f"as-{name}", tmp_path / "e")
    before = files(tmp_path / "e")
    assert oodinv("blend", tmp_path / "e", "--paste", "--quiet").exit_code == 0
    assert files(tmp_path / "e") == before
    assert oodinv("blend", tmp_path / "e", "--technique", "mask", "--detail", "0.2", "--quiet").exit_code == 0
    assert oodinv("blend", tmp_path / "e", "--paste", "--quiet").exit_code == 0
    assert files(tmp_path / "e") == before


@pytest.mark.parametrize("colour", ["1", "0.5", "0"])
def test_blend_without_options_changes_nothing_in_an_inversion(
    here: Path, tiny_card: Path, tmp_path: Path, colour: str
) -> None:
    out = tmp_path / "out"
    options = ("--model", tiny_card, "--colour", colour, "--quiet")
    assert oodinv("invert", here / "photos", "-o", out, *options).exit_code == 0
    before = files(out)
    assert oodinv("blend", out, "--paste", "--quiet").exit_code == 0
    assert files(out) == before
    again = oodinv("invert", here / "photos", "-o", out, *options, "--json")
    assert json.loads(again.stdout)["kept"] == 2


def test_what_blend_replaced_still_counts_as_done(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    edited(here, tiny_card, "one", tmp_path / "e")
    assert oodinv("blend", tmp_path / "e", "--technique", "poisson", "--paste", "--quiet").exit_code == 0
    blended = files(tmp_path / "e/composites")
    again = edited(here, tiny_card, "one", tmp_path / "e", "--json")
    assert json.loads(again.stdout)["kept"] == 2
    assert files(tmp_path / "e/composites") == blended


def test_blend_into_another_folder_leaves_the_first_as_it_is(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    edited(here, tiny_card, "one", tmp_path / "e")
    before = files(tmp_path / "e")
    arguments = ("blend", tmp_path / "e", "--technique", "poisson", "--paste", "-o", tmp_path / "b", "--json")
    done = oodinv(*arguments)
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["output"] == str(tmp_path / "b")
    assert files(tmp_path / "e") == before
    assert {p.name for p in (tmp_path / "b").iterdir()} == {"aligned", "composites", "pasted", "manifest.jsonl"}
    assert files(tmp_path / "b/composites") != files(tmp_path / "e/composites")
    assert json.loads(oodinv(*arguments).stdout)["kept"] == 2
    assert oodinv("report", tmp_path / "b", "--quiet").exit_code == 0
    other = oodinv("blend", tmp_path / "e", "-o", tmp_path / "b", "--quiet")
    assert "--restart" in str(other.exception)


@pytest.mark.parametrize("command", ["blend", "report"])
def test_commands_that_replace_files_wait_for_no_other_run(
    here: Path, tiny_card: Path, tmp_path: Path, command: str
) -> None:
    edited(here, tiny_card, "one", tmp_path / "e")
    with alone_in(tmp_path / "e"):
        done = oodinv(command, tmp_path / "e", "--quiet")
    assert "is in use by another run" in str(done.exception)
    assert oodinv(command, tmp_path / "e", "--quiet").exit_code == 0


def test_a_dry_run_of_blend_lists_and_writes_nothing(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    edited(here, tiny_card, "one", tmp_path / "e")
    before = files(tmp_path / "e")
    plan = json.loads(oodinv("blend", tmp_path / "e", "--dry-run", "--json").stdout)["plan"]
    assert [(row["name"], row["state"]) for row in plan] == [(name, "to do") for name in NAMES]
    assert files(tmp_path / "e") == before
    assert oodinv("blend", tmp_path / "e", "-o", tmp_path / "b", "--dry-run").exit_code == 0
    assert not (tmp_path / "b").exists()
    assert oodinv("blend", tmp_path / "e", "-o", tmp_path / "b", "--quiet").exit_code == 0
    assert "done already" in oodinv("blend", tmp_path / "e", "-o", tmp_path / "b", "--dry-run").stdout
    other = oodinv("blend", tmp_path / "e", "-o", tmp_path / "b", "--feather", "3", "--dry-run")
    assert "--restart" in str(other.exception)


def test_blend_composes_as_the_run_did_but_for_its_options(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    (here / "composed.yaml").write_text(
        "edits: [{direction: first, strength: 1}]\ncompose: {keep_above: 0.4, detail: 1, colour: 1}"
    )
    edited(here, tiny_card, "composed", tmp_path)
    first = pixels(tmp_path / f"composites/{NAMES[0]}.png")
    assert oodinv("blend", tmp_path, "--quiet").exit_code == 0
    np.testing.assert_array_equal(pixels(tmp_path / f"composites/{NAMES[0]}.png"), first)
    assert oodinv("blend", tmp_path, "--detail", "0", "--colour", "0", "--quiet").exit_code == 0
    assert np.abs(pixels(tmp_path / f"composites/{NAMES[0]}.png") - first).mean() > 2


def test_blend_takes_the_motion_that_was_saved(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    (here / "moving.yaml").write_text(
        "edits: [{direction: first, strength: 0.2}]\ncompose: {detail: 1, colour: 1, area: crop}"
    )
    edited(here, tiny_card, "moving", tmp_path)
    path, composite = tmp_path / f"flows/{NAMES[0]}.npz", tmp_path / f"composites/{NAMES[0]}.png"
    first, arrays = pixels(composite), dict(np.load(path))
    assert arrays["motion"].shape == (2, 32, 32)
    assert arrays["motion"].dtype == np.float16
    found = []
    for motion in (None, arrays["motion"] + 3):
        others = {key: array for key, array in arrays.items() if key != "motion"}
        np.savez(path, **others, **({} if motion is None else {"motion": motion}))
        assert oodinv("blend", tmp_path, "--quiet").exit_code == 0
        found.append(np.abs(pixels(composite) - first).mean())
    assert found[0] < 1  # found again where it was not saved
    assert found[1] > 3
    np.savez(path, **others, motion=arrays["motion"][:1])
    done = oodinv("blend", tmp_path, "--json", "--quiet")
    assert done.exit_code == 1
    (failure,) = json.loads(done.stdout)["failed"]
    assert f"{NAMES[0]}.npz" in failure["error"]


def test_a_turned_head_is_composed_again_as_it_was(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    (here / "turning.yaml").write_text("edits: [{direction: first, strength: 3}]\ncompose: {area: pose}")
    edited(here, tiny_card, "turning", tmp_path, "--force")
    composite = tmp_path / f"composites/{NAMES[0]}.png"
    first = pixels(composite)
    path = tmp_path / f"flows/{NAMES[0]}.npz"
    arrays = dict(np.load(path))
    assert arrays["turn"].shape == (2, 32, 32)
    for turn in ({}, {"turn": arrays.pop("turn")}):
        np.savez(path, **arrays, **turn)
        assert oodinv("blend", tmp_path, "--quiet").exit_code == 0
        assert np.abs(pixels(composite) - first).mean() < 1
    assert oodinv("blend", tmp_path, "--area", "crop", "--quiet").exit_code == 0
    assert np.abs(pixels(composite) - first).mean() > 1


def test_blend_composes_again_what_was_saved(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    edited(here, tiny_card, "one", out)
    first = {name: pixels(out / f"composites/{name}.png") for name in NAMES}
    pasted = (out / f"pasted/{NAMES[0]}.jpg").read_bytes()
    for technique in ("laplacian", "poisson"):
        done = oodinv("blend", out, "--technique", technique, "--feather", "2", "--detail", "1", "--paste", "--json")
        assert done.exit_code == 0, done.exception
        assert json.loads(done.stdout)["done"] == 2
        assert np.abs(pixels(out / f"composites/{NAMES[0]}.png") - first[NAMES[0]]).max() > 2
        assert (out / f"pasted/{NAMES[0]}.jpg").read_bytes() != pasted
    assert oodinv("blend", out, "--quiet").exit_code == 0
    for name in NAMES:
        np.testing.assert_array_equal(pixels(out / f"composites/{name}.png"), first[name])
        assert xmp(out / f"composites/{name}.png")["{urn:oodinv:1.0/}Recipe"] == "one: first +1"


def test_blend_loads_no_networks(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    """A second for PyTorch would be most of the time that it takes."""
    edited(here, tiny_card, "one", tmp_path / "out")
    without = "import sys; sys.modules['torch'] = None; from oodinv.cli.main import main; main()"
    command = [sys.executable, "-c", without, "blend", str(tmp_path / "out"), "--detail", "1", "--paste", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == 2


def test_blend_says_what_is_missing(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    edited(here, tiny_card, "one", out)
    (out / f"generated/{NAMES[0]}.png").unlink()
    done = oodinv("blend", out, "--json", "--quiet")
    assert done.exit_code == 1
    (failure,) = json.loads(done.stdout)["failed"]
    assert "generated" in failure["error"]
    assert oodinv("blend", tmp_path, "--quiet").exit_code == 1


@pytest.mark.parametrize("name", ["aligned", "composites", "flows/deeper"])
def test_blend_does_not_write_among_the_results_of_a_run(here: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(here / "out", tmp_path / "i")
    before = files(tmp_path / "i")
    for more in ((), ("--restart",), ("--dry-run",)):
        done = oodinv("blend", tmp_path / "i", "-o", tmp_path / "i" / name, "--quiet", *more)
        assert "lies among the results of `oodinv invert`" in str(done.exception)
    assert files(tmp_path / "i") == before


DAMAGED_PARTS = {
    "shape": np.zeros((3, 7), np.uint8),
    "type": np.zeros((128, 128), np.float32),
    "range": np.full((128, 128), 200, np.uint8),
}


@pytest.mark.parametrize("damage", DAMAGED_PARTS)
def test_a_damaged_label_map_fails_its_photo_alone_in_edit_and_blend(
    here: Path, tiny_card: Path, tmp_path: Path, damage: str
) -> None:
    shutil.copytree(here / "out", tmp_path / "i")
    edited(here, tiny_card, "one", tmp_path / "e")
    for folder in ("i", "e"):
        path = tmp_path / folder / f"flows/{NAMES[0]}.npz"
        with np.load(path) as file:
            arrays = dict(file)
        np.savez(path, **(arrays | {"parts": DAMAGED_PARTS[damage]}))
    for command in (("edit", tmp_path / "i", "-r", "one", "-o", tmp_path / "e2", "--model", tiny_card),
                    ("blend", tmp_path / "e"), ("blend", tmp_path / "i")):  # fmt: skip
        done = oodinv(*command, "--json", "--quiet")
        summary = json.loads(done.stdout)
        assert (done.exit_code, summary["done"]) == (1, 1)
        (failure,) = summary["failed"]
        assert f"flows/{NAMES[0]}.npz: expected" in failure["error"]
        assert "parts" in failure["error"]


def test_an_inversion_without_label_maps_is_edited_and_blended_all_the_same(
    here: Path, tiny_card: Path, tmp_path: Path
) -> None:
    shutil.copytree(here / "out", tmp_path / "i")
    for path in (tmp_path / "i/flows").glob("*.npz"):
        with np.load(path) as file:
            np.savez(path.with_name("bare.npz"), **{key: file[key] for key in file.files if key != "parts"})
        path.with_name("bare.npz").replace(path)
    for folder in (here / "out", tmp_path / "i"):
        done = oodinv("edit", folder, "-r", "one", "-o", tmp_path / f"e-{folder.name}", "--model", tiny_card, "-q")
        assert done.exit_code == 0, done.exception
    assert files(tmp_path / "e-i/composites") == files(tmp_path / "e-out/composites")
    assert oodinv("blend", tmp_path / "e-i", "--quiet").exit_code == 0
    assert files(tmp_path / "e-i/composites") == files(tmp_path / "e-out/composites")
