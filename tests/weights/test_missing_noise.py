"""Files of rosinality's layout without noise maps, as the published one for 256 px faces."""

import json
from pathlib import Path

import pytest
import torch
from command import call_here
from foreign_files import CHANNELS, SIZE, WIDTH, rosinality

from oodinv.models.encoders.pyramid import PyramidEncoder
from oodinv.models.synthesis import synthesize
from oodinv.weights import native
from oodinv.weights.build import load_generator, load_named
from oodinv.weights.families import build_generator
from oodinv.weights.reading.read import read
from oodinv.weights.translation import translate
from oodinv.weights.verify import verify

SAYS = "has no noise maps; they are drawn from a fixed seed"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    state = {key: value for key, value in rosinality().items() if not key.startswith("noises.")}
    path = tmp_path / "ffhq-256.pt"
    torch.save({"g_ema": state, "latent_avg": torch.zeros(WIDTH)}, path)
    return path


def test_noise_maps_are_drawn_once_and_for_all(file: Path) -> None:
    first, second = (build_generator(translate(read(file))) for _ in range(2))
    assert first.state_dict().keys() == build_generator(translate(read(file))).state_dict().keys()
    w_plus = torch.randn(1, first.num_ws, WIDTH, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        fixed, again, without = (
            synthesize(generator, w_plus, noise)
            for generator, noise in ((first, "fixed"), (second, "fixed"), (first, "zero"))
        )
    assert torch.equal(fixed, again)
    assert not torch.equal(fixed, without)
    maps = torch.cat([value.flatten() for name, value in first.named_buffers() if name.endswith(".noise")])
    assert len(maps) == 4**2 + 2 * sum(size**2 for size in CHANNELS if size > 4)
    assert abs(float(maps.mean())) < 0.1
    assert abs(float(maps.std()) - 1) < 0.1


def test_files_with_noise_maps_get_no_note() -> None:
    from foreign_files import file_of

    assert translate(file_of(rosinality())).notes == ()


def test_models_and_generators_say_which_file_has_none(file: Path) -> None:
    folder = file.parent
    encoder = PyramidEncoder(SIZE, {32: 4, 16: 5, 8: 6, 4: 7}, num_ws=8, w_dim=WIDTH, hidden=9)
    native.save(folder / "e.safetensors", encoder)
    card = folder / "tiny.yaml"
    card.write_text(
        f"name: tiny\nsize: {SIZE}\nlicence: none\ngenerator: {{kind: stylegan2, weights: {file.name}}}\n"
        "encoder: {kind: pyramid, weights: e.safetensors}\n"
    )
    assert f"{file}: {SAYS}" in load_named(str(card)).notes
    assert load_generator(str(card)).notes == (f"{file}: {SAYS}",)
    assert verify(file).notes == (f"{file}: {SAYS}",)


def test_commands_say_which_file_has_none(file: Path) -> None:
    verified = call_here("weights", "verify", str(file))
    assert (verified.returncode, f"{file}: {SAYS}" in verified.stdout) == (0, True)
    imported = call_here("weights", "import", str(file), "-o", str(file.parent / "g.safetensors"), "--json")
    assert json.loads(imported.stdout)["results"][0]["notes"] == [f"{file}: {SAYS}"]
    assert translate(read(file.parent / "g.safetensors")).notes == ()
