"""The networks against outputs of the published ones, through files in the published containers.

Weights and images are drawn by name, so the cases need no weight file; bounds are max |difference| / std.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

import cv2
import golden
import numpy as np
import pytest
import tolerances
import torch
from command import call_here

from oodinv.device import supports_natively
from oodinv.inversion import Inversion, decode, encode, invert
from oodinv.metrics.pixel import psnr
from oodinv.models.generators.base import Generator, map_latents
from oodinv.models.synthesis import synthesize
from oodinv.recipe.card import read_card
from oodinv.weights.build import load_model
from oodinv.weights.families import build_generator
from oodinv.weights.reading.read import read
from oodinv.weights.translation import translate

pytestmark = pytest.mark.slow

SIZES = (32, 64, 128, 256)
HALF = supports_natively(torch.device("cpu"), torch.bfloat16)


def load_generator(path: Path) -> Generator:
    return build_generator(translate(read(path)))


def test_generator_in_the_rosinality_layout(shared: Path, tmp_path: Path) -> None:
    state, stored = golden.state_dict(shared, "stylegan2_256"), golden.outputs(shared, "stylegan2_256")
    torch.save({"g_ema": state, "latent_avg": torch.zeros(512)}, tmp_path / "generator.pt")
    generator = load_generator(tmp_path / "generator.pt")
    draw = golden.fill(shared).draw
    with torch.inference_mode():
        w = map_latents(generator, torch.from_numpy(draw("z", (2, 512))))
        w_plus = w[:, None] + 0.3 * torch.from_numpy(draw("w_plus_offset", (2, 14, 512)))
        zero, fixed = (synthesize(generator, w_plus, noise) for noise in ("zero", "fixed"))
    assert golden.deviation(w, stored["w"]) < tolerances.GOLDEN["mapping"]
    assert golden.deviation(zero[:, :, ::2, ::2], stored["image_noise_zero"]) < tolerances.GOLDEN["stylegan2"]
    assert golden.deviation(fixed[:, :, ::2, ::2], stored["image_noise_buffers"]) < tolerances.GOLDEN["stylegan2"]


def test_generator_in_an_nvidia_pickle(shared: Path) -> None:
    """Its embedded source ends the process if anything runs it."""
    generator = load_generator(shared / "golden" / "nvlabs_ada_64.pkl")
    stored = golden.outputs(shared, "nvlabs_ada_64")
    z = torch.from_numpy(stored["z"])
    with torch.inference_mode():
        w_plus = map_latents(generator, z)[:, None].expand(-1, generator.num_ws, -1)
        truncated = map_latents(generator, z, 0.7)[:, None].expand(-1, generator.num_ws, -1)
        fixed, without = synthesize(generator, w_plus, "fixed"), synthesize(generator, truncated, "zero")
    assert golden.deviation(w_plus, stored["w"]) < tolerances.GOLDEN["mapping"]
    assert golden.deviation(truncated, stored["w_truncated_0_7"]) < tolerances.GOLDEN["mapping"]
    assert golden.deviation(fixed, stored["image_noise_const"]) < tolerances.GOLDEN["stylegan2"]
    assert golden.deviation(without, stored["image_truncated_noise_none"]) < tolerances.GOLDEN["stylegan2"]


class Runs(NamedTuple):
    """Inversions of one whole model: plain, edited, in bfloat16. saved: arrays that the command wrote; of e4e alone."""

    kind: str
    inversions: dict[str, Inversion]
    saved: dict[str, np.ndarray]


def saved_by_command(image: np.ndarray, card: Path, folder: Path) -> dict[str, np.ndarray]:
    """Inverts a picture of 16 bits by `oodinv invert`."""
    deep = np.rint((image[0].transpose(1, 2, 0) + 1) * 32767.5).astype(np.uint16)
    (folder / "crops").mkdir()
    assert cv2.imwrite(str(folder / "crops" / "golden.png"), deep[..., ::-1])
    options = ("--aligned", "--noise", "zero", "--dtype", "float32", "--save", "latents,flows")
    done = call_here("invert", folder / "crops", "-o", folder / "out", "--model", card, *options)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "out/latents/golden.npz") as latents, np.load(folder / "out/flows/golden.npz") as flows:
        return {"w_plus": latents["w_plus"], **{k: flows[k] for k in flows if k.startswith(("flow_", "mask_"))}}


@pytest.fixture(scope="module", params=golden.CASES)
def runs(request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """One model is in memory at a time."""
    kind: str = request.param
    folder = tmp_path_factory.mktemp(kind)
    card = golden.write_files(golden.state_dict(shared, golden.CASES[kind]), kind, folder)
    module = golden.fill(shared)
    picture = module.image(1024, 1, seed=0)
    saved = saved_by_command(picture, card, folder) if kind == "e4e" else {}
    model = load_model(read_card(card), card)
    shutil.rmtree(folder)  # more than a gigabyte; the model doesn't need it any more
    image = torch.from_numpy(picture)
    delta = torch.zeros(1, 18, 512)
    delta[:, :8] = 0.4 * torch.from_numpy(module.draw("edit", (1, 1, 512)))
    encoding = encode(model, image)
    found = {
        "": decode(model, image, encoding.w_plus, encoding, "zero"),
        "edited_": decode(model, image, encoding.w_plus + delta, encoding, "zero"),
    }
    if HALF:
        found["half"] = invert(model, image, noise="zero", dtype=torch.bfloat16)
    return Runs(kind, found, saved)


@pytest.mark.parametrize("prefix", ["", "edited_"])
def test_the_whole_model_equals_the_golden_result(runs: Runs, shared: Path, prefix: str) -> None:
    kind = runs.kind
    stored, found = golden.outputs(shared, golden.CASES[kind]), runs.inversions[prefix]
    arrays = {
        "w_plus": found.w_plus,
        "mask": found.mask[:, :, ::4, ::4],
        "generated": found.generated[:, :, ::4, ::4],
        "image": found.composite[:, :, ::4, ::4],
        **{f"flow_{size}": found.alignments[size].flow for size in SIZES},
        **{f"mask_{size}": found.alignments[size].mask for size in SIZES},
    }
    deviations = {name: golden.deviation(array, stored[prefix + name]) for name, array in arrays.items()}
    assert {k: d for k, d in deviations.items() if not d <= tolerances.GOLDEN[kind]} == {}


@pytest.mark.skipif(not HALF, reason="this CPU has no bfloat16 instructions")
def test_bfloat16_gives_the_picture_of_float32(runs: Runs) -> None:
    """Of the other cases the random weights draw pictures far outside [−1, 1] or, pass after pass, enlarge errors."""
    half, single = runs.inversions["half"].composite, runs.inversions[""].composite
    if runs.kind == "e4e":
        assert 40 < psnr(half, single).item() < 100
    assert 0 < (half - single).std() < 0.2 * single.std()


@pytest.mark.parametrize("runs", ["e4e"], indirect=True)
def test_the_command_line_agrees_too(runs: Runs, shared: Path) -> None:
    """The e4e case as a 16-bit picture, whose rounding moves the outputs by some 1e-4 of their deviation."""
    stored, found = golden.outputs(shared, golden.CASES["e4e"]), runs.saved
    assert len(found) == 1 + 2 * len(SIZES)
    deviations = {k: golden.deviation(torch.from_numpy(v)[None], stored[k]) for k, v in found.items()}
    assert {k: d for k, d in deviations.items() if not d <= tolerances.GOLDEN["e4e"]} == {}
