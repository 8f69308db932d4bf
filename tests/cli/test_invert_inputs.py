"""`oodinv invert` on photos of 16 bits, unusual photos and unreadable files: results and errors."""

import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from command import call_all, call_here, write_copies
from PIL import Image


def test_sixteen_bits_reach_the_network(tiny_card: Path, tmp_path: Path) -> None:
    """Two crops that are alike in 8 bits but not in 16 give different latents, near those of the exact values."""
    from oodinv.inversion import invert
    from oodinv.recipe.card import read_card
    from oodinv.weights.build import load_model

    values = np.random.default_rng(0).uniform(0, 65535, (32, 32, 3)).astype(np.uint16) // 257 * 257 + 100
    crops = tmp_path / "crops"
    crops.mkdir()
    cv2.imwrite(str(crops / "deep.png"), values[..., ::-1])
    options = ("--model", tiny_card, "--aligned", "--noise", "zero", "--dtype", "float32")
    assert call_here("invert", crops, "-o", tmp_path / "out", *options).returncode == 0
    model = load_model(read_card(tiny_card), tiny_card)
    exact = torch.from_numpy(values.astype(np.float32) / 32767.5 - 1).permute(2, 0, 1)[None]
    rounded = ((exact + 1) * 127.5).round() / 127.5 - 1
    with np.load(tmp_path / "out/latents/deep.npz") as latents:
        found = torch.from_numpy(latents["w_plus"])[None]
    wanted, coarse = (invert(model, x, noise="zero").w_plus for x in (exact, rounded))
    assert (found - wanted).abs().max() < 0.1 * (found - coarse).abs().max()


def test_sixteen_bits_come_back_from_the_photo(tiny_card: Path, samples: Path, tmp_path: Path) -> None:
    with Image.open(samples / "barack-obama.jpg") as source:
        source.thumbnail((300, 300))
        eight = np.asarray(source.convert("RGB"))
    rng = np.random.default_rng(0)
    deep = eight.astype(np.uint16) * 257 + rng.integers(0, 100, eight.shape, dtype=np.uint16)
    deep = np.minimum(deep, 65_400)
    cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])
    done = call_here("invert", tmp_path / "deep.png", "-o", tmp_path / "out", "--model", tiny_card, "--save", "pasted")
    assert done.returncode == 0, done.stderr
    pasted = cv2.imread(str(tmp_path / "out/pasted/deep.png"), cv2.IMREAD_UNCHANGED)
    assert pasted is not None
    assert pasted.dtype == np.uint16
    quad = np.array(json.loads((tmp_path / "out/aligned/deep.json").read_text())["quad"])
    left, top = np.maximum(np.floor(quad.min(axis=0)).astype(int), 0)
    right, bottom = np.ceil(quad.max(axis=0)).astype(int)
    changed = (pasted[..., ::-1] != deep).any(axis=2)
    assert changed.any()
    changed[top:bottom, left:right] = False
    assert not changed.any()


def test_aligned_refuses_pictures_that_are_not_square(inverted: Path, tiny_card: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "wide.png")
    crop = inverted / "aligned" / "barack-obama.png"
    done = call_here(
        "invert", tmp_path / "wide.png", crop, "-o", tmp_path / "o", "--model", tiny_card, "--aligned", "--json"
    )
    assert done.returncode == 1
    summary = json.loads(done.stdout)
    assert summary["done"] == 1
    (failure,) = summary["failed"]
    assert "wide.png: is 64 by 48 pixels" in failure["error"]
    assert "leave out --aligned" in failure["error"]


def test_files_that_no_reader_opens_are_named_and_counted(samples: Path, tiny_card: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write_copies(samples, folder, 1)
    for name in ("a.cr2", "b.CR2", "clip.mp4", "notes.txt"):
        (folder / name).write_bytes(b"x")
    options = ("--model", tiny_card, "--save", "latents")
    done = call_here("invert", folder, "-o", tmp_path / "o", *options)
    assert done.returncode == 1
    assert "1 done, 0 failed, 3 of unsupported types, of 4" in done.stderr
    assert "2 .cr2 (" in done.stderr
    assert "clip.mp4" in done.stderr
    assert "1 other files were ignored (1 .txt)" in done.stderr
    again = call_here("invert", folder, "-o", tmp_path / "o", *options, "--json", "--quiet")
    assert again.returncode == 1
    summary = json.loads(again.stdout)
    assert [Path(f["input"]).name for f in summary["unsupported"]] == ["a.cr2", "b.CR2", "clip.mp4"]
    assert (summary["kept"], summary["failed"]) == (1, [])
    statuses = [json.loads(line).get("status") for line in (tmp_path / "o/manifest.jsonl").read_text().splitlines()]
    assert statuses[1:].count("unsupported") == 3


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes")
def test_names_that_are_not_utf8_survive_every_command(samples: Path, tiny_card: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    write_copies(samples, folder, 1)
    (name,) = folder.iterdir()
    odd = folder / os.fsdecode(b"caf\xe9 \xff.png")
    name.rename(odd)
    (tmp_path / "average.yaml").write_text("truncation: 0.5")
    out, edited = tmp_path / "out", tmp_path / os.fsdecode(b"ed\xefted")
    commands = (
        ("invert", folder, "-o", out, "--model", tiny_card),
        ("report", out),
        ("edit", out, "-r", tmp_path / "average.yaml", "-o", edited, "--model", tiny_card),
        ("blend", edited, "--paste", "--technique", "poisson"),
        ("report", edited),
        ("benchmark", "--dataset", folder, "--model", tiny_card, "-o", tmp_path / "b", "--ablate", "none"),
    )
    done = call_all(*(command for arguments in commands for command in (arguments, (*arguments, "--json"))))
    assert done.returncode == 0, ascii(done.stderr)
    assert (edited / "pasted" / odd.name).is_file()
    assert "caf\\udce9" in (edited / "report.html").read_text()
