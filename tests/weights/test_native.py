"""The project's own weight files: what is written comes back, and what can't be stored is refused."""

from pathlib import Path

import pytest
import torch
from torch import nn

from oodinv.errors import WeightsError
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.weights import native
from oodinv.weights.families import build_generator
from oodinv.weights.reading.read import read
from oodinv.weights.translation import translate


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 0.0), (torch.float16, 2e-3)])
def test_a_generator_comes_back(tmp_path: Path, dtype: torch.dtype, error: float) -> None:
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
