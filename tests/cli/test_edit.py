"""`oodinv edit` and `oodinv report` as a user runs them: what is used again, what stays, what is written."""

import io
import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from command import MAIN, call_here, files
from edit_command import IPTC, NAMES, edited, oodinv, pixels, xmp
from PIL import Image
from tolerances import FLOAT32

from oodinv.models.encoders.pyramid import PyramidEncoder


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
        (photo, "-o", tmp_path / "one.gif"),
        ("-",),
    ):
        assert oodinv("edit", *arguments, *common).exit_code == 2
    assert not (tmp_path / "sweep.jpg").exists()
    assert not (tmp_path / "one.gif").exists()


def test_a_photo_goes_through_a_pipe(
    here: Path, tiny_card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = here / "photos" / f"{NAMES[0]}.jpg"
    common = ("-r", here / "one.yaml", "--model", tiny_card, "--quiet")
    assert oodinv("edit", photo, "-o", tmp_path / "one.jpg", *common).exit_code == 0
    command = [*MAIN, "edit", "-", "-o", "-", *map(str, common)]
    done = subprocess.run(command, input=photo.read_bytes(), capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "one.jpg").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no photo")))
    broken = call_here("edit", "-", "-o", "-", *common)
    assert broken.returncode == 1
    assert broken.stdout == ""
    assert "Traceback" not in broken.stderr
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    empty = call_here("edit", "-", "-o", "-", *common)
    assert (empty.returncode, empty.stdout) == (1, "")
    assert "found nothing" in empty.stderr


def test_a_report_is_made_again_after_blend(here: Path, tiny_card: Path, tmp_path: Path) -> None:
    edited(here, tiny_card, "one", tmp_path)
    first = [(tmp_path / name).read_bytes() for name in ("report.html", "contact-sheet.png")]
    done = oodinv("blend", tmp_path, "--technique", "laplacian", "--area", "crop", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
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
