"""`oodinv invert` and `oodinv align` as a user runs them: outputs, failures, resume, bounded memory."""

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from command import MAIN, call_here, differing, files, start, write_copies
from PIL import Image

from oodinv.cli.options import batch_size_for
from oodinv.cli.progress import Summary, follow
from oodinv.runs.runner import Event, Started

FOLDERS = ("aligned", "latents", "flows", "masks", "generated", "composites", "pasted")


def bomb() -> bytes:
    """A PNG whose header announces 30,000 × 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


def write_broken(folder: Path) -> set[str]:
    """Ten files that can't be inverted, each for a reason of its own; returns their names."""
    rng = np.random.default_rng(0)
    good = folder / "good-00.png"
    jpeg = (folder / "good-01.jpg").read_bytes()
    broken = {
        "empty.jpg": b"",
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "truncated.png": good.read_bytes()[: good.stat().st_size // 2],
        "text.jpg": b"this is no picture",
        "page.png": b"<!doctype html><html></html>",
        "bomb.png": bomb(),
        "one-byte.webp": b"R",
    }
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    Image.fromarray(rng.integers(0, 255, (200, 200, 3), dtype=np.uint8)).save(folder / "noise.png")
    Image.new("RGB", (300, 200), "white").save(folder / "blank.png")
    (folder / "nowhere.jpg").symlink_to(folder / "not-there")
    return {*broken, "noise.png", "blank.png", "nowhere.jpg"}


def test_every_folder_of_the_design_is_there(inverted: Path) -> None:
    name = "barack-obama"
    present = {p.relative_to(inverted).as_posix() for p in inverted.rglob(f"{name}.*")}
    expected = {f"{f}/{name}.png" for f in ("aligned", "masks", "generated", "composites")}
    expected |= {f"aligned/{name}.json", f"latents/{name}.npz", f"flows/{name}.npz", f"pasted/{name}.jpg"}
    assert present == expected
    assert {p.name for p in inverted.iterdir()} == {*FOLDERS, "manifest.jsonl"}


def test_artefacts_have_the_documented_form(inverted: Path, samples: Path) -> None:
    name = "barack-obama"
    with np.load(inverted / f"latents/{name}.npz") as latents:
        assert latents["w_plus"].shape == (8, 16)
        assert latents["w_plus"].dtype == np.float32
    with np.load(inverted / f"flows/{name}.npz") as flows:
        assert {k: (v.shape, v.dtype.name) for k, v in flows.items()} == {
            "flow_16": ((2, 16, 16), "float32"),
            "mask_16": ((1, 16, 16), "float32"),
            "flow_32": ((2, 32, 32), "float32"),
            "mask_32": ((1, 32, 32), "float32"),
            "mask": ((32, 32), "float16"),
            "parts": ((128, 128), "uint8"),
        }
    with Image.open(inverted / f"masks/{name}.png") as mask:
        assert (mask.mode, mask.size) == ("L", (32, 32))
    geometry = json.loads((inverted / f"aligned/{name}.json").read_text())
    with Image.open(samples / f"{name}.jpg") as photo, Image.open(inverted / f"pasted/{name}.jpg") as pasted:
        assert tuple(geometry["photo_size"]) == photo.size == pasted.size
    assert np.array(geometry["quad"]).shape == (4, 2)
    assert geometry["detector"] == "yunet"


def test_the_composite_is_the_blend_of_crop_and_generated(inverted: Path) -> None:
    for name in ("barack-obama", "rishi-sunak"):
        crop, generated, composite = (
            np.asarray(Image.open(inverted / f"{f}/{name}.png")).astype(float)
            for f in ("aligned", "generated", "composites")
        )
        with np.load(inverted / f"flows/{name}.npz") as flows:
            mask = flows["mask"].astype(float)[..., None]
        blend = mask * crop + (1 - mask) * generated
        inside = (generated > 0) & (generated < 255)  # elsewhere the stored picture is clipped
        assert np.abs(blend - composite)[inside].max() <= 1.0


def test_a_pasted_face_keeps_the_colours_of_its_photo(
    inverted: Path, samples: Path, tiny_card: Path, tmp_path: Path
) -> None:
    """The tiny model draws grey noise: whatever colour its faces have, the photo's must not change."""
    out = tmp_path / "out"
    done = call_here("invert", samples, "-o", out, "--model", tiny_card, "--save", "pasted", "--colour", "0")
    assert done.returncode == 0, done.stderr
    name = "barack-obama"
    quad = np.array(json.loads((inverted / f"aligned/{name}.json").read_text())["quad"])
    (left, top), (right, bottom) = quad.min(axis=0).astype(int), quad.max(axis=0).astype(int)
    photo, kept, plain = (
        cv2.GaussianBlur(np.asarray(Image.open(path)).astype(np.float32), (0, 0), (right - left) / 8)[
            top:bottom, left:right
        ]
        for path in (samples / f"{name}.jpg", inverted / f"pasted/{name}.jpg", out / f"pasted/{name}.jpg")
    )
    assert np.abs(kept - photo).mean() < 0.1 * np.abs(plain - photo).mean()
    assert np.abs(plain - photo).mean() > 10


def test_blend_with_all_colour_pastes_what_invert_pasted(samples: Path, tiny_card: Path, tmp_path: Path) -> None:
    assert call_here("invert", samples, "-o", tmp_path, "--model", tiny_card).returncode == 0
    pasted = {path: path.read_bytes() for path in (tmp_path / "pasted").iterdir()}
    assert call_here("blend", tmp_path, "--colour", "1", "--paste").returncode == 0
    assert len(pasted) == 5
    assert {path: path.read_bytes() for path in pasted} == pasted


@pytest.mark.slow
def test_forty_good_and_ten_broken_photos(samples: Path, tiny_card: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    write_copies(samples, photos, 40)
    broken = write_broken(photos)
    assert len(broken) == 10
    done = call_here("invert", photos, "-o", out, "--model", tiny_card, "--json")
    assert done.returncode == 1
    summary = json.loads(done.stdout)
    assert summary["done"] == 40
    assert {Path(f["input"]).name for f in summary["failed"]} == broken
    for failure in summary["failed"]:
        assert Path(failure["input"]).name in failure["error"]
        assert "unexpected" not in failure["error"]
    for folder in ("composites", "latents", "flows", "masks", "pasted"):
        assert len(list((out / folder).iterdir())) == 40
    again = call_here("invert", photos, "-o", out, "--model", tiny_card, "--json")
    assert json.loads(again.stdout)["kept"] == 40


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bytes(samples: Path, tiny_card: Path, tmp_path: Path) -> None:
    photos, whole, killed = tmp_path / "photos", tmp_path / "whole", tmp_path / "killed"
    write_copies(samples, photos, 12)
    options = ("--model", tiny_card, "--batch-size", "3", "--quiet")
    assert call_here("invert", photos, "-o", whole, *options).returncode == 0
    for lines in (1, 4, 8):
        process = start("invert", photos, "-o", killed, *options)
        manifest = killed / "manifest.jsonl"
        while process.poll() is None:
            if manifest.is_file() and manifest.read_bytes().count(b"\n") > lines:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        process.communicate()
    assert call_here("invert", photos, "-o", killed, *options).returncode == 0
    assert not [name for name in files(killed) if name.endswith(".tmp")]
    assert differing(killed, whole) == []


def test_aligned_crops_are_taken_as_they_are(inverted: Path, tiny_card: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call_here(
        "invert", inverted / "aligned", "-o", out, "--model", tiny_card, "--aligned", "--noise", "zero", "--quiet"
    )
    assert done.returncode == 0, done.stderr
    first = files(inverted)
    again = files(out)
    assert not [name for name in again if name.startswith("pasted/") or name.endswith(".json")]
    assert {n: c for n, c in again.items() if n.startswith("latents/")} == {
        n: c for n, c in first.items() if n.startswith("latents/")
    }


def test_save_writes_only_what_it_names(inverted: Path, tiny_card: Path, tmp_path: Path) -> None:
    crop = inverted / "aligned" / "barack-obama.png"
    done = call_here("invert", crop, "-o", tmp_path / "o", "--model", tiny_card, "--aligned", "--save", "latents")
    assert done.returncode == 0
    assert set(files(tmp_path / "o")) == {"aligned/barack-obama.png", "latents/barack-obama.npz"}
    wrong = call_here("invert", crop, "-o", tmp_path / "p", "--model", tiny_card, "--save", "latent")
    assert wrong.returncode == 2
    assert "latent" in wrong.stderr


def test_other_settings_for_the_same_folder_are_refused(inverted: Path, samples: Path, tiny_card: Path) -> None:
    done = call_here("invert", samples, "-o", inverted, "--model", tiny_card, "--noise", "zero")
    assert done.returncode == 1
    assert "noise" in done.stderr
    assert "--restart" in done.stderr


def test_random_noise_is_the_same_in_a_repeated_run(inverted: Path, tiny_card: Path, tmp_path: Path) -> None:
    options = ("--model", tiny_card, "--aligned", "--noise", "random", "--quiet")
    for out in ("one", "two"):
        assert call_here("invert", inverted / "aligned", "-o", tmp_path / out, *options).returncode == 0
    assert differing(tmp_path / "one", tmp_path / "two") == []


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near_single(inverted: Path, tiny_card: Path, tmp_path: Path, dtype: str) -> None:
    options = ("--model", tiny_card, "--aligned", "--quiet", "--save", "latents,composites")
    done = call_here("invert", inverted / "aligned", "-o", tmp_path / "half", "--dtype", dtype, *options)
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "half" / "composites").iterdir():
        half = np.asarray(Image.open(path)).astype(float)
        single = np.asarray(Image.open(inverted / "composites" / path.name)).astype(float)
        assert np.abs(half - single).mean() < 3


def test_align_writes_numbered_faces_from_left_to_right(samples: Path, tmp_path: Path) -> None:
    with Image.open(samples / "rishi-sunak.jpg") as a, Image.open(samples / "jacinda-ardern-2022.jpg") as b:
        both = Image.new("RGB", (a.width + b.width, max(a.height, b.height)), "grey")
        both.paste(a, (0, 0))
        both.paste(b, (a.width, 0))
    both.save(tmp_path / "two.png")
    done = call_here("align", tmp_path / "two.png", "-o", tmp_path / "out", "--size", "64")
    assert done.returncode == 0, done.stderr
    quads = [json.loads((tmp_path / f"out/aligned/two.{n}.json").read_text())["quad"] for n in (0, 1)]
    assert np.mean(quads[0], axis=0)[0] < np.mean(quads[1], axis=0)[0]
    largest = call_here("align", tmp_path / "two.png", "-o", tmp_path / "one", "--size", "64", "--faces", "largest")
    assert largest.returncode == 0
    assert set(files(tmp_path / "one")) == {"aligned/two.png", "aligned/two.json"}


def peak_megabytes(*arguments: str | Path) -> float:
    """Peak resident memory of a run, in a process whose only child it is."""
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-c", script, *MAIN, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return int(done.stdout) / scale


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_CHILDREN"), reason="needs process accounting of the system")
def test_memory_does_not_grow_with_the_folder(tiny_card: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for count in (8, 64):
        (tmp_path / str(count)).mkdir()
    for n in range(8):
        pixels = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((1000, 1000)).save(tmp_path / "8" / f"{n}.jpg")
        for copy in range(8):
            (tmp_path / "64" / f"{copy}-{n}.jpg").hardlink_to(tmp_path / "8" / f"{n}.jpg")
    few, many = (
        peak_megabytes("invert", tmp_path / str(c), "-o", tmp_path / f"o{c}", "--model", tiny_card, "--aligned")
        for c in (8, 64)
    )
    assert many < 1.1 * few


def test_photos_are_inverted_one_by_one_on_a_cpu_and_in_batches_on_a_gpu() -> None:
    assert [batch_size_for(device, None) for device in ("cpu", "cuda", "cuda:1")] == [1, 8, 8]
    assert batch_size_for("auto", None) == (8 if torch.cuda.is_available() else 1)
    assert batch_size_for("cpu", 3) == 3


def test_ctrl_c_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def events() -> Iterator[Event]:
        yield Started(3, 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(events(), Summary(Path("out")), "inverting", quiet=False)
    assert "repeat the command to resume" in capsys.readouterr().err
