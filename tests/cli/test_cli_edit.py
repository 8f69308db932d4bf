"""`oodinv edit` and `oodinv blend` as a user runs them: what is used again, what stays, what is written."""

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from command import MAIN, files
from PIL import Image, ImageFilter
from tolerances import FLOAT32
from typer.testing import CliRunner

from oodinv.cli import edit_run
from oodinv.cli.main import app
from oodinv.directions import Direction, write
from oodinv.models.encoders.pyramid import PyramidEncoder
from oodinv.runs.runner import alone_in

IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
NAMES = ("barack-obama", "rishi-sunak")


def oodinv(*arguments: str | Path) -> Result:
    """Runs a command in this process; `exception` of the result is what it raised."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def xmp(path: Path) -> dict[str, str]:
    with Image.open(path) as picture:
        root = ET.fromstring(picture.info["xmp"])
    return {key: value for element in root.iter() for key, value in element.attrib.items()}


@pytest.fixture(scope="module")
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


def edited(here: Path, tiny_card: Path, recipe: str, out: Path, *options: str) -> Result:
    done = oodinv("edit", here / "out", "--recipe", recipe, "-o", out, "--model", tiny_card, "--quiet", *options)
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def test_an_inversion_is_used_again(
    here: Path, tiny_card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the encoder was called")

    monkeypatch.setattr(PyramidEncoder, "encode", refuse)
    edited(here, tiny_card, "one", tmp_path)
    folders = {p.name for p in tmp_path.iterdir() if p.is_dir()}
    assert folders >= {"aligned", "latents", "flows", "masks", "generated", "composites", "pasted", "unedited"}
    direction = torch.randn(8, 16, generator=torch.Generator().manual_seed(1)).numpy()
    for name in NAMES:
        before, after = (np.load(f / f"latents/{name}.npz")["w_plus"] for f in (here / "out", tmp_path))
        np.testing.assert_allclose(after - before, direction, atol=FLOAT32)
        for part in (f"masks/{name}.png", f"flows/{name}.npz"):
            if part.startswith("masks"):
                np.testing.assert_array_equal(pixels(here / "out" / part), pixels(tmp_path / part))
        assert np.abs(pixels(here / f"out/generated/{name}.png") - pixels(tmp_path / f"generated/{name}.png")).max() > 3


def test_no_strength_is_the_unedited_inversion_to_the_last_bit(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    edited(here, tiny_card, "zero", tmp_path)
    for name in NAMES:
        for part in ("generated", "composites", "masks"):
            np.testing.assert_array_equal(
                pixels(here / f"out/{part}/{name}.png"), pixels(tmp_path / f"{part}/{name}.png")
            )
        with np.load(here / f"out/latents/{name}.npz") as a, np.load(tmp_path / f"latents/{name}.npz") as b:
            np.testing.assert_array_equal(a["w_plus"], b["w_plus"])


def test_without_an_edit_the_photo_stays_as_it_is(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    """In PNG bit for bit, although the generator's face differs from the photo's."""
    (tmp_path / "photos").mkdir()
    Image.open(here / "photos/barack-obama.jpg").save(tmp_path / "photos/a.png")
    out = tmp_path / "edited"
    done = oodinv("edit", tmp_path / "photos", "-r", "zero", "-o", out, "--model", tiny_card, "--quiet")
    assert done.exit_code == 0, (done.output, done.exception)
    np.testing.assert_array_equal(pixels(out / "pasted/a.png"), pixels(tmp_path / "photos/a.png"))
    assert (out / "inversion/latents/a.npz").is_file()


def test_the_order_of_edits_makes_no_difference(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    for recipe in ("ab", "ba"):
        edited(here, tiny_card, recipe, tmp_path / recipe)
    for part in ("generated", "composites"):
        for name in NAMES:
            a, b = (pixels(tmp_path / recipe / f"{part}/{name}.png") for recipe in ("ab", "ba"))
            np.testing.assert_array_equal(a, b)


def test_the_last_inversion_is_taken_and_named(here: Path, tiny_card: Path) -> None:
    done = oodinv("edit", "--recipe", "one.yaml", "--model", tiny_card)
    assert done.exit_code == 0, done.exception
    assert "using the last inversion in this folder: out/" in done.stderr
    assert "out-one" in done.stderr
    assert (here / "out-one/report.html").is_file()
    again = oodinv("edit", "--recipe", "one.yaml", "--model", tiny_card, "--json", "--quiet")
    assert json.loads(again.stdout)["kept"] == 2
    shutil.rmtree(here / "out-one")


def test_a_sweep_gives_strips(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    edited(here, tiny_card, "sweep", tmp_path / "a")
    edited(here, tiny_card, "one", tmp_path / "b", "--strength=-1,0,1")
    edited(here, tiny_card, "one", tmp_path / "c")
    for name in NAMES:
        assert pixels(tmp_path / f"a/strips/{name}.png").shape[1] == 4 * 128
        for strength in ("-1", "+0", "+1"):
            a, b = (pixels(tmp_path / f"{x}/composites/{name}@{strength}.png") for x in "ab")
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(
            pixels(tmp_path / f"a/composites/{name}@+1.png"), pixels(tmp_path / f"c/composites/{name}.png")
        )
        assert (tmp_path / f"a/pasted/{name}@+1.jpg").is_file()


def test_every_picture_says_how_it_was_made(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    edited(here, tiny_card, "one", tmp_path)
    kinds = {"generated": "trainedAlgorithmicMedia", "unedited": "trainedAlgorithmicMedia"}
    for path in (p for p in tmp_path.rglob("*") if p.suffix in (".png", ".jpg")):
        said, kind = xmp(path), kinds.get(path.parent.name, "compositeWithTrainedAlgorithmicMedia")
        assert said["{urn:oodinv:1.0/}Tool"].startswith("oodinv")
        if path.parent.name == "aligned":
            assert IPTC not in said
        elif path.parent.name != "masks":
            assert said[IPTC].endswith(f"/{kind}"), path
            assert said["{urn:oodinv:1.0/}Model"] == "tiny"
        if path.parent.name in ("composites", "pasted"):
            assert said["{urn:oodinv:1.0/}Recipe"] == "one: first +1"
    assert xmp(here / f"out/pasted/{NAMES[0]}.jpg")[IPTC].endswith("/compositeWithTrainedAlgorithmicMedia")


def test_runs_that_are_repeated_write_the_same_bytes(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    for out in ("one", "two"):
        edited(here, tiny_card, "sweep", tmp_path / out)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_the_page_needs_nothing_else(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    edited(here, tiny_card, "one", tmp_path)
    references: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, _: str, attributes: list[tuple[str, str | None]]) -> None:
            references.extend(value or "" for key, value in attributes if key in ("src", "href"))

    text = (tmp_path / "report.html").read_text()
    Reader().feed(text)
    assert len(references) >= 10
    assert all(reference.startswith("data:") for reference in references)
    assert "http" not in text.replace("http-equiv", "")


def test_a_preview_writes_only_the_sheet(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    edited(here, tiny_card, "one", tmp_path, "--preview")
    assert [p.name for p in tmp_path.rglob("*")] == ["contact-sheet.png"]


def test_the_mask_of_the_edited_pass_is_an_option(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    edited(here, tiny_card, "one", tmp_path, "--mask", "edited")
    with np.load(here / f"out/flows/{NAMES[0]}.npz") as a, np.load(tmp_path / f"flows/{NAMES[0]}.npz") as b:
        assert np.abs(a["flow_16"] - b["flow_16"]).max() > 1e-5


def test_a_target_is_reached(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    from oodinv.recipe.card import read_card
    from oodinv.weights.build import load_model

    edited(here, tiny_card, "target", tmp_path)
    average = load_model(read_card(tiny_card), tiny_card).encoder.w_avg.numpy()
    unit = torch.randn(8, 16, generator=torch.Generator().manual_seed(1)).numpy().astype(float)
    for name in NAMES:
        w = np.load(tmp_path / f"latents/{name}.npz")["w_plus"]
        assert ((w - average) * unit).sum() / (unit**2).sum() == pytest.approx(0.5, abs=1e-4)


def test_mixing_takes_layers_of_another_person(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    edited(here, tiny_card, "mix", tmp_path)
    own, other = (np.load(here / f"out/latents/{name}.npz")["w_plus"] for name in NAMES)
    mixed = np.load(tmp_path / f"latents/{NAMES[0]}.npz")["w_plus"]
    np.testing.assert_array_equal(mixed, np.concatenate([own[:4], other[4:]]))


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


def test_one_photo_is_edited_into_one_file_as_in_a_folder(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    photo = here / "photos" / f"{NAMES[0]}.jpg"
    common = ("-r", "one", "--model", tiny_card, "--quiet")
    assert oodinv("edit", photo, "-o", tmp_path / "folder", *common).exit_code == 0
    assert oodinv("edit", photo, "-o", tmp_path / "one.jpg", *common).exit_code == 0
    assert (tmp_path / "one.jpg").read_bytes() == (tmp_path / f"folder/pasted/{NAMES[0]}.jpg").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "one.jpg"}
    assert oodinv("edit", photo, "-o", tmp_path / "one.png", *common).exit_code == 0
    with Image.open(tmp_path / "one.png") as png, Image.open(photo) as before:
        assert png.size == before.size
    for arguments in (
        (photo, "-o", photo),
        (here / "photos", "-o", tmp_path / "all.jpg"),
        (photo, "-o", tmp_path / "sweep.jpg", "--strength=-1,1"),
        ("-",),
    ):
        assert oodinv("edit", *arguments, *common).exit_code == 2
    assert not (tmp_path / "sweep.jpg").exists()


def test_a_photo_goes_through_a_pipe(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    photo = here / "photos" / f"{NAMES[0]}.jpg"
    common = ("-r", here / "one.yaml", "--model", tiny_card, "--quiet")
    assert oodinv("edit", photo, "-o", tmp_path / "one.jpg", *common).exit_code == 0
    command = [*MAIN, "edit", "-", "-o", "-", *map(str, common)]
    done = subprocess.run(command, input=photo.read_bytes(), capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "one.jpg").read_bytes()
    broken = subprocess.run(command, input=b"no photo", capture_output=True, timeout=600, check=False)
    assert broken.returncode == 1
    assert broken.stdout == b""
    assert b"Traceback" not in broken.stderr


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
        (("edit", "x.jpg", "-r", "smile", "--area", "feature"), "did you mean features?"),
    ],
)
def test_a_name_that_is_nearly_right_is_suggested(here: Path, arguments: tuple[str, ...], words: str) -> None:
    (here / "x.jpg").touch()
    done = oodinv(*arguments)
    assert done.exit_code != 0
    assert words in " ".join((str(done.exception) + done.stderr).replace("│", " ").split())


def test_a_report_is_made_again_after_blend(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    edited(here, tiny_card, "one", tmp_path)
    first = [(tmp_path / name).read_bytes() for name in ("report.html", "contact-sheet.png")]
    done = oodinv("blend", tmp_path, "--technique", "laplacian", "--area", "crop", "--json")
    assert f"oodinv report {tmp_path}" in json.loads(done.stdout)["notes"][0]
    done = oodinv("report", tmp_path, "--json")
    assert (done.exit_code, json.loads(done.stdout)["done"]) == (0, 2)
    again = [(tmp_path / name).read_bytes() for name in ("report.html", "contact-sheet.png")]
    assert again[0] != first[0]
    assert again[1] != first[1]


def test_an_inversion_has_a_report_too(here: Path, tmp_path: Path) -> None:
    shutil.copytree(here / "out", tmp_path / "out")
    assert oodinv("report", tmp_path / "out", "--quiet").exit_code == 0
    page = (tmp_path / "out/report.html").read_text()
    assert all(f"<h2>{name}</h2>" in page for name in NAMES)
    (tmp_path / f"out/composites/{NAMES[0]}.png").unlink()
    failed = oodinv("report", tmp_path / "out", "--quiet")
    assert f"{NAMES[0]}.png" in str(failed.exception)


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


COMPOSED = {
    "plain": "compose: {}",
    "most": "compose: {keep_above: 0.4, feather: 2, detail: 1, colour: 1, technique: laplacian}",
    "pose": "compose: {area: pose}",
    "features": "compose: {area: features, detail: 0.5, technique: poisson}",
    "edited": "compose: {detail: 1}\nmask: edited",
    "none": "compose: {detail: 1}",
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
        "edits: [{direction: first, strength: 1}]\ncompose: {detail: 1, colour: 1, area: crop}"
    )
    edited(here, tiny_card, "moving", tmp_path)
    path, composite = tmp_path / f"flows/{NAMES[0]}.npz", tmp_path / f"composites/{NAMES[0]}.png"
    first, arrays = pixels(composite), dict(np.load(path))
    assert arrays["motion"].shape == (2, 32, 32)
    assert arrays["motion"].dtype == np.float16
    found, hair = [], []
    for motion in (None, arrays["motion"] + 3):
        others = {key: array for key, array in arrays.items() if key != "motion"}
        np.savez(path, **others, **({} if motion is None else {"motion": motion}))
        assert oodinv("blend", tmp_path, "--quiet").exit_code == 0
        found.append(np.abs(pixels(composite) - first).mean())
        assert oodinv("blend", tmp_path, "--area", "hair", "--quiet").exit_code == 0
        hair.append(pixels(composite))
    assert found[0] < 1  # found again where it was not saved
    assert found[1] > 3
    np.testing.assert_array_equal(*hair)  # which only gets another colour
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
    assert any("be found any more" in note for note in summary["notes"])
    assert (tmp_path / f"e/composites/{NAMES[1]}.png").is_file()
    assert not (tmp_path / "e/pasted").exists()


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
