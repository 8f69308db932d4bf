"""`oodinv edit`: which photos, faces and inversions it takes, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command import files
from edit_command import NAMES, edited, oodinv
from PIL import Image, ImageFilter

from oodinv.cli import edit_run
from oodinv.directions import Direction, write


def test_an_inversion_that_saved_too_little_is_one_error(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    inverted = oodinv("invert", here / "photos", "-o", tmp_path / "i", "--model", tiny_card, "--save", "pasted")
    assert inverted.exit_code == 0
    done = oodinv("edit", tmp_path / "i", "-r", "one", "-o", tmp_path / "e", "--model", tiny_card)
    assert "has no latents and flows" in str(done.exception)
    assert not (tmp_path / "e").exists()


def test_a_strength_beyond_the_range_is_refused_before_any_work(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    for inputs in (here / "out", here / "photos"):
        done = oodinv("edit", inputs, "-r", "far", "-o", tmp_path / "x", "--model", tiny_card)
        assert done.exit_code == 1
        assert "first at +9 is outside its safe range, -2 to 2" in str(done.exception)
        assert "--force" in str(done.exception)
        assert not (tmp_path / "x").exists()


def test_a_strength_is_refused_where_no_range_is_known(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    write(here / "unknown.safetensors", Direction("unknown", "tiny", torch.ones(8, 16)))
    (here / "unknown.yaml").write_text("edits: [{direction: unknown, strength: 1}]")
    options = ("-r", "unknown", "-o", tmp_path / "x", "--model", tiny_card, "--quiet")
    assert "-100 to 100" in str(oodinv("edit", here / "out", *options, "--strength", "1e9").exception)
    assert oodinv("edit", here / "out", *options, "--strength", "50").exit_code == 0


def test_force_only_warns_of_strengths_and_before_the_work(
    here: Path, tiny_card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = edited(here, tiny_card, "far", tmp_path, "--json", "--force")
    assert any("first at +9" in note for note in json.loads(done.stdout)["notes"])

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(edit_run, "_edit", stopped)
    options = ("-o", tmp_path / "x", "--model", tiny_card, "--force")
    assert "first at +9" in oodinv("edit", here / "out", "-r", "far", *options).stderr
    assert "first at +9" not in oodinv("edit", here / "out", "-r", "far", *options, "--quiet").stderr


def test_photos_that_can_not_be_edited_are_not_inverted(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    """Everything that can be known before is checked before."""
    shutil.copytree(here / "out", tmp_path / "s")
    edited(here, tiny_card, "one", tmp_path / "e")
    for recipe, output, words in (
        ("one", "s", "holds results of `oodinv invert`"),
        ("zero", "e", "made with other settings"),
        ("missing", "m", "third"),
    ):
        before = files(tmp_path)
        done = oodinv("edit", here / "photos", "-r", recipe, "-o", tmp_path / output, "--model", tiny_card, "--quiet")
        assert words in str(done.exception)
        assert files(tmp_path) == before


def test_another_strength_is_one_short_sentence_and_gets_a_folder_of_its_own(here: Path, tiny_card: Path) -> None:
    common = ("edit", here / "out", "-r", "one", "--model", tiny_card, "--quiet")
    assert oodinv(*common, "--strength", "0.5").exit_code == 0
    assert oodinv(*common, "--strength=-1,1").exit_code == 0
    assert (here / "out-one@0.5" / "manifest.jsonl").is_file()
    assert (here / "out-one@-1,1" / "strips").is_dir()
    done = oodinv(*common, "--strength", "0.7", "-o", here / "out-one@0.5")
    message = str(done.exception)
    assert "first +0.5 → one: first +0.7" in message
    assert len(message) < 300
    assert "{" not in message
    for folder in ("out-one@0.5", "out-one@-1,1"):
        shutil.rmtree(here / folder)


def test_faces_are_chosen_and_those_left_out_are_named(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    """Two people side by side, one of them larger, one out of focus in another photo."""
    left, right = (Image.open(here / f"photos/{name}.jpg").convert("RGB").resize((300, 400)) for name in NAMES)
    both = Image.new("RGB", (600, 400), "grey")
    both.paste(left, (0, 0))
    both.paste(right.resize((240, 320)), (330, 40))
    (tmp_path / "in").mkdir()
    both.save(tmp_path / "in/both.png")
    soft = both.copy()
    soft.paste(right.resize((240, 320)).filter(ImageFilter.GaussianBlur(6)), (330, 40))
    soft.save(tmp_path / "in/soft.png")
    common = ("--model", tiny_card, "--save", "latents", "--json", "--quiet")

    def crops(name: str, *options: str | Path) -> list[str]:
        done = oodinv("invert", tmp_path / "in", "-o", tmp_path / name, *common, *options)
        assert done.exit_code == 0, (done.output, done.exception)
        return sorted(p.stem for p in (tmp_path / name / "aligned").glob("*.png"))

    assert crops("all") == ["both.0", "both.1", "soft"]
    assert crops("blurred", "--blurred") == ["both.0", "both.1", "soft.0", "soft.1"]
    assert crops("largest", "--faces", "largest") == ["both", "soft"]
    assert crops("one", "--faces", "1") == ["both", "soft"]
    assert crops("left", "--face", "0") == ["both", "soft"]
    manifests = (tmp_path / "all/manifest.jsonl").read_text()
    assert "face 1 left out: blurred" in manifests
    done = oodinv(
        "invert", tmp_path / "in", "-o", tmp_path / "like", *common, "--like", here / f"photos/{NAMES[0]}.jpg"
    )
    summary = json.loads(done.stdout)
    assert summary["done"] == 2
    assert all("another person" in " ".join(remark["remarks"]) for remark in summary["remarks"])
    none = oodinv("invert", tmp_path / "in", "-o", tmp_path / "none", *common, "--min-face", "5000")
    assert none.exit_code == 1
    assert "less than 5000" in json.loads(none.stdout)["failed"][0]["error"]
    refused = oodinv("edit", here / "out", "-r", "one", "-o", tmp_path / "x", "--model", tiny_card, "--faces", "1")
    assert refused.exit_code == 2


def test_shares_of_an_edit_end_as_one_run(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    shutil.copytree(here / "photos", tmp_path / "photos")
    (tmp_path / "photos/bad.jpg").write_bytes(b"no photo")
    options = ("-r", "one", "--model", tiny_card, "--batch-size", "1", "--quiet")
    whole = oodinv("edit", tmp_path / "photos", "-o", tmp_path / "whole", *options)
    assert whole.exit_code == 1
    codes = [
        oodinv("edit", tmp_path / "photos", "-o", tmp_path / "shared", *options, "--shard", f"{n}/3").exit_code
        for n in range(3)
    ]
    assert sorted(codes) == [0, 0, 1]
    assert files(tmp_path / "shared/composites") == files(tmp_path / "whole/composites")
    assert files(tmp_path / "shared/pasted") == files(tmp_path / "whole/pasted")
    assert (tmp_path / "shared/report.html").is_file()
    again = oodinv("edit", here / "out", "-o", tmp_path / "from-out", *options, "--shard", "0/2", "--json")
    assert json.loads(again.stdout)["done"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("edit", "x.jpg", "-r", "smlie"), "did you mean smile?"),
        (("invert", "x.jpg", "-o", "y", "--model", "ffhq-mobil"), "did you mean ffhq-mobile?"),
        (("weights", "pull", "yunett"), "did you mean yunet?"),
        (("edit", "x.jpg", "-r", "smile", "--area", "hairs"), "did you mean hair?"),
    ],
)
def test_a_name_that_is_nearly_right_is_suggested(here: Path, arguments: tuple[str, ...], words: str) -> None:
    (here / "x.jpg").touch()
    done = oodinv(*arguments)
    assert done.exit_code != 0
    assert words in " ".join((str(done.exception) + done.stderr).replace("│", " ").split())


@pytest.mark.parametrize(
    ("recipe", "options", "reason"),
    [
        ("missing", (), "third"),
        ("stranger", (), "barack-obama"),
        ("layer", (), "layer 8"),
        ("nowhere", (), "older"),
        ("sweep", ("--strength=1,2",), "already a sweep"),
        ("target", ("--strength=2",), "no strengths"),
    ],
)
def test_wrong_recipes_say_what_is_wrong(
    here: Path, tiny_card: Path, tmp_path: Path, recipe: str, options: tuple[str, ...], reason: str
) -> None:
    done = oodinv("edit", here / "out", "-r", recipe, "-o", tmp_path / "x", "--model", tiny_card, *options)
    assert done.exit_code == 1
    assert reason in str(done.exception)
    assert not (tmp_path / "x/manifest.jsonl").exists()


def test_another_models_inversion_is_refused(here: Path, tmp_path: Path) -> None:
    done = oodinv("edit", here / "out", "-r", "one", "-o", tmp_path / "x", "--model", "ffhq-mobile")
    assert done.exit_code == 1
    assert "was made with tiny" in str(done.exception)


def test_the_input_is_never_replaced(here: Path, tiny_card: Path) -> None:
    done = oodinv("edit", here / "out", "-r", "one", "-o", here / "out", "--model", tiny_card)
    assert done.exit_code == 1
    assert "would be replaced" in str(done.exception)


def test_a_folder_of_the_inversion_is_not_replaced(here: Path, tiny_card: Path) -> None:
    done = oodinv("edit", here / "out", "-r", "one", "-o", here / "out/aligned", "--model", tiny_card)
    assert done.exit_code == 1
    assert "would be replaced" in str(done.exception)


def test_an_edit_and_several_inversions_are_no_photos(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    edited(here, tiny_card, "one", tmp_path / "e")
    for inputs in ([tmp_path / "e"], [here / "out", here / "out"]):
        done = oodinv("edit", *inputs, "-r", "one", "-o", tmp_path / "f", "--model", tiny_card)
        assert done.exit_code == 1
        assert "was written by `oodinv " in str(done.exception)
        assert not (tmp_path / "f").exists()


def test_somebody_elses_manifest_makes_no_results(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    shutil.copytree(here / "photos", tmp_path / "photos")
    (tmp_path / "photos/manifest.jsonl").write_text('{"dataset": "mine"}\n')
    done = oodinv("edit", tmp_path / "photos", "-r", "one", "-o", tmp_path / "e", "--model", tiny_card, "--quiet")
    assert done.exit_code == 0, done.exception


def test_a_preview_replaces_no_other_runs_sheet(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    edited(here, tiny_card, "one", tmp_path)
    sheet = (tmp_path / "contact-sheet.png").read_bytes()
    done = oodinv("edit", here / "out", "-r", "ab", "-o", tmp_path, "--model", tiny_card, "--preview")
    assert done.exit_code == 1
    assert str(tmp_path) in str(done.exception)
    assert (tmp_path / "contact-sheet.png").read_bytes() == sheet
    edited(here, tiny_card, "one", tmp_path, "--preview")


def test_photos_are_found_from_another_folder(
    here: Path, tiny_card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`invert` ran where its output lies, as it does without -o elsewhere, with a path seen from there."""
    (tmp_path / "a").mkdir()
    shutil.copytree(here / "photos", tmp_path / "a/photos")
    monkeypatch.chdir(tmp_path / "a")
    assert oodinv("invert", "photos", "-o", "out", "--model", tiny_card, "--quiet").exit_code == 0
    monkeypatch.chdir(tmp_path)
    recipe = here / "one.yaml"
    done = oodinv("edit", tmp_path / "a/out", "-r", recipe, "-o", "e", "--model", tiny_card, "--json", "--quiet")
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["notes"] == []
    assert (tmp_path / f"e/pasted/{NAMES[0]}.jpg").is_file()
    assert oodinv("blend", tmp_path / "a/out", "--paste", "--quiet").exit_code == 0


def test_an_output_among_the_photos_is_refused(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    shutil.copytree(here / "photos", tmp_path / "photos")
    options: tuple[Any, ...] = ("-r", "one", "-o", tmp_path / "photos/e", "--model", tiny_card, "--quiet")
    done = oodinv("edit", tmp_path / "photos", *options)
    assert "lies in the input" in str(done.exception)
    assert not (tmp_path / "photos/e").exists()


def test_photos_that_an_inversion_lacks_are_reported(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    shutil.copytree(here / "photos", tmp_path / "photos")
    (tmp_path / "photos/torn.jpg").write_bytes(b"torn")
    assert oodinv("invert", tmp_path / "photos", "-o", tmp_path / "out", "--model", tiny_card).exit_code == 1
    options: tuple[Any, ...] = ("-r", "one", "-o", tmp_path / "e", "--model", tiny_card, "--json", "--quiet")
    done = oodinv("edit", tmp_path / "out", *options)
    assert done.exit_code == 0, done.exception
    (note,) = json.loads(done.stdout)["notes"]
    assert note.startswith("1 photo failed")
    assert str(tmp_path / "out") in note


def test_a_photo_that_was_changed_or_is_gone(samples: Path, tiny_card: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in NAMES:
        shutil.copy(samples / f"{name}.jpg", photos)
    assert oodinv("invert", photos, "-o", out, "--model", tiny_card, "--quiet").exit_code == 0
    Image.new("RGB", (50, 50)).save(photos / f"{NAMES[0]}.jpg")
    (photos / f"{NAMES[1]}.jpg").unlink()
    (tmp_path / "half.yaml").write_text("truncation: 0.5")
    options: tuple[Any, ...] = ("-r", tmp_path / "half.yaml", "-o", tmp_path / "e", "--model", tiny_card)
    done = oodinv("edit", out, *options, "--json", "--quiet")
    assert done.exit_code == 1
    summary = json.loads(done.stdout)
    assert [Path(f["input"]).name for f in summary["failed"]] == [f"{NAMES[0]}.jpg"]
    assert "was changed" in summary["failed"][0]["error"]
    assert any("can't be found" in note for note in summary["notes"])
    assert (tmp_path / f"e/composites/{NAMES[1]}.png").is_file()
    assert not (tmp_path / "e/pasted").exists()


def test_an_edit_is_repeated_after_a_photo_went_missing_and_came_back(
    samples: Path, tiny_card: Path, tmp_path: Path
) -> None:
    photos, out, edit = tmp_path / "photos", tmp_path / "out", tmp_path / "e"
    photos.mkdir()
    for name in NAMES:
        shutil.copy(samples / f"{name}.jpg", photos)
    assert oodinv("invert", photos, "-o", out, "--model", tiny_card, "--quiet").exit_code == 0
    (tmp_path / "half.yaml").write_text("truncation: 0.5")

    def run(*command: str | Path) -> tuple[int, int, int]:
        done = oodinv(*command, "--json", "--quiet")
        summary = json.loads(done.stdout)
        return done.exit_code, summary["done"], summary["kept"]

    commands: tuple[tuple[str | Path, ...], ...] = (
        ("edit", out, "-r", tmp_path / "half.yaml", "-o", edit, "--model", tiny_card),
        ("blend", out, "-o", tmp_path / "b"),
    )
    for command in commands:
        assert run(*command) == (0, 2, 0)
    before = files(edit)
    (photos / f"{NAMES[0]}.jpg").rename(tmp_path / "away.jpg")
    for command in commands:
        assert run(*command) == (0, 0, 2)
    assert files(edit) == before
    shutil.rmtree(edit)
    assert run(*commands[0]) == (0, 2, 0)
    assert not (edit / f"pasted/{NAMES[0]}.jpg").exists()
    (tmp_path / "away.jpg").rename(photos / f"{NAMES[0]}.jpg")
    assert run(*commands[0]) == (0, 1, 1)
    assert files(edit) == before
