"""The project's own weight files: what is written comes back, and what can't be stored is refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from oodinv.errors import UnknownLayout, WeightsError
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.models.samm import Samm
from oodinv.recipe.card import SammCard
from oodinv.weights import native
from oodinv.weights.families import build_generator, build_samm
from oodinv.weights.reading.read import read
from oodinv.weights.translation import translate


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 0.0), (torch.float16, 2e-3)])
def test_a_saved_generator_is_loaded_unchanged(tmp_path: Path, dtype: torch.dtype, error: float) -> None:
    generator = StyleGAN2(8, {4: 4, 8: 6}, w_dim=5, z_dim=5, mapping_layers=0)
    native.save(tmp_path / "g.safetensors", generator, dtype)
    again = build_generator(translate(read(tmp_path / "g.safetensors")))
    assert again.channels == generator.channels
    for name, value in generator.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=error, atol=error)


def test_values_beyond_half_precision_are_refused_by_name(tmp_path: Path) -> None:
    generator = StyleGAN2(8, {4: 4, 8: 6}, w_dim=5, z_dim=5, mapping_layers=0)
    nn.init.constant_(generator.const, 1e5)
    with pytest.raises(WeightsError, match=r"const.*float16"):
        native.save(tmp_path / "g.safetensors", generator)
    assert not list(tmp_path.iterdir())
    native.save(tmp_path / "g.safetensors", generator, torch.float32)


def test_a_narrow_samm_comes_back_and_contradicts_no_card(tmp_path: Path) -> None:
    samm = Samm({8: 6, 16: 4}, {8: 3, 16: 5}, cycles=2, flow_range=0.1, width=2)
    native.save(tmp_path / "s.safetensors", samm, torch.float32)
    source = translate(read(tmp_path / "s.safetensors"))
    again = build_samm(SammCard(weights="s.safetensors", sizes=[16]), source)
    assert (again.width, again.channels, again.tap_channels) == (2, {16: 4}, {16: 5})
    torch.testing.assert_close(again.squeeze["16"].weight, samm.squeeze["16"].weight)
    assert build_samm(SammCard(weights="s.safetensors", sizes=[8, 16], channels=2), source).width == 2
    with pytest.raises(UnknownLayout, match=r"to 2 channels, and the card says 3.*samm\.channels"):
        build_samm(SammCard(weights="s.safetensors", sizes=[8, 16], channels=3), source)
    published = Samm({8: 6}, {8: 3}, cycles=2, flow_range=0.1)
    native.save(tmp_path / "p.safetensors", published, torch.float32)
    source = translate(read(tmp_path / "p.safetensors"))
    assert build_samm(SammCard(weights="p.safetensors", sizes=[8]), source).width is None
    with pytest.raises(UnknownLayout, match="to no channels, and the card says 2"):
        build_samm(SammCard(weights="p.safetensors", sizes=[8], channels=2), source)
