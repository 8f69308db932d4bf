"""`oodinv directions`: import, discover, list and fit."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from command import call_here

from oodinv import directions
from oodinv.imaging.encode import write_png
from oodinv.imaging.files import write_npz
from oodinv.recipe.card import read_card
from oodinv.runs import manifest
from oodinv.weights.build import find_files, load_named
from oodinv.weights.checksum import sha256_file
from oodinv.workflows.encode import read_inverted


def test_a_single_code_becomes_a_latent_by_command(tmp_path: Path) -> None:
    code = np.random.default_rng(0).standard_normal((16, 512)).astype(np.float32)
    np.save(tmp_path / "anna.npy", code)
    done = call_here("directions", "import", "--codes", tmp_path / "anna.npy", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "latents" / "anna.000.npz")["w_plus"], code)


def test_files_of_the_commands_are_listed(tmp_path: Path, tiny_card: Path) -> None:
    found = call_here(
        "directions", "discover", "sefa", "--model", tiny_card, "-o", tmp_path, "--count", "2", "--layers", "0-2"
    )
    assert found.returncode == 0, found.stderr
    np.save(tmp_path / "in.npy", np.ones(16))
    made = call_here("directions", "import", tmp_path / "in.npy", tmp_path / "no.npy", "--model", tiny_card,
                "-o", tmp_path / "older.safetensors", "--scale", "-2", "--json")  # fmt: skip
    assert made.returncode == 1
    assert "no.npy" in made.stderr
    assert json.loads(made.stdout)["results"][0]["shape"] == [8, 16]
    assert torch.equal(directions.read(tmp_path / "older.safetensors").vector, torch.full((8, 16), -2.0))
    listed = call_here("directions", "list", *sorted(tmp_path.glob("*.safetensors")), "--json")
    assert [d["name"] for d in json.loads(listed.stdout)["directions"]] == ["older", "sefa-00", "sefa-01"]


def inverted(folder: Path, card_path: Path, count: int) -> np.ndarray:
    """Writes the parts of an `invert` output that fitting reads, with codes along one axis. Returns their positions."""
    card = read_card(card_path)
    files, _ = find_files(card, card_path)
    weights: dict[str, str] = {role: sha256_file(file) for role, file in files.items()}
    rng = np.random.default_rng(5)
    places = rng.standard_normal(count)
    entries = []
    for i, place in enumerate(places):
        w_plus = 0.01 * rng.standard_normal((8, 16)).astype(np.float32)
        w_plus[2, 3] += place
        write_npz(folder / f"latents/{i}.npz", w_plus=w_plus)
        write_png(folder / f"aligned/{i}.png", np.full((32, 32, 3), i, np.uint8))
        sha256 = hashlib.sha256(bytes([i])).hexdigest()
        entries.append(manifest.Entry(f"{i}.jpg", str(i), sha256, "done", [f"aligned/{i}.png", f"latents/{i}.npz"]))
    manifest.write(folder, manifest.Header("0", "invert", card.model_dump(mode="json"), weights, {}), entries)
    return places


def test_a_damaged_latents_file_is_skipped(tmp_path: Path, tiny_card: Path) -> None:
    inverted(tmp_path, tiny_card, 3)
    damaged = tmp_path / "latents/1.npz"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 255  # the archive opens, but its checksum fails
    damaged.write_bytes(content)
    (tmp_path / "latents/2.npz").write_bytes(content[: len(content) // 2])
    found = list(read_inverted(load_named(str(tiny_card)), tmp_path))
    assert [type(item).__name__ for item in found] == ["MeasuredFace", "SkippedFace", "SkippedFace"]
    assert "1.npz" in found[1].reason


def test_fit_reads_latents_of_invert_and_a_table(tmp_path: Path, tiny_card: Path) -> None:
    places = inverted(tmp_path / "out", tiny_card, 120)
    (tmp_path / "l.csv").write_text("file,tall\n" + "".join(f"{i}.jpg,{p}\n" for i, p in enumerate(places)))
    common = ["directions", "fit", tmp_path / "out", "--labels", tmp_path / "l.csv", "-o", tmp_path]
    done = call_here(*common, "--attribute", "tall", "--condition", "light", "--model", tiny_card, "--json")
    assert done.returncode == 0, done.stderr
    (summary,) = json.loads(done.stdout)["directions"]
    assert summary["measure"] == "R2"
    assert summary["quality"] > 0.95
    assert summary["faces"] + summary["held_out"] == 120
    vector = directions.read(tmp_path / "tall.safetensors").vector
    assert float(vector[2, 3] / vector.norm()) > 0.98
    clash = call_here(*common, "--attribute", "tall", "--condition", "tall", "--model", tiny_card)
    assert (clash.returncode, "Traceback" in clash.stderr) == (1, False)
    other = call_here(*common, "--attribute", "tall")
    assert other.returncode == 1
    assert "other weights" in other.stderr
