"""An encoder from outside the package: one class and one entry."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import yaml
from command import call_here, smooth_crops
from torch import Tensor, nn

from oodinv.models import encoders
from oodinv.models.encoders.base import Encoder, Encoding
from oodinv.models.generators.base import Generator
from oodinv.models.naming import Settings, State
from oodinv.weights import native


class ColourEncoder(Encoder):
    """A linear map from the mean colour of each quarter of an image to latent codes."""

    kind = "colour"
    mark = r"from_colours\.weight"

    def __init__(self, *, num_ws: int, w_dim: int) -> None:
        super().__init__()
        self.num_ws, self.w_dim, self.tap_channels = num_ws, w_dim, {}
        self.from_colours = nn.Linear(12, num_ws * w_dim)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def refine(self, image: Tensor, w_plus: Tensor, generator: Generator) -> Encoding:  # noqa: ARG002
        codes = self.from_colours(F.adaptive_avg_pool2d(image, 2).flatten(1))
        return Encoding(w_plus + codes.reshape(-1, self.num_ws, self.w_dim), {})

    @classmethod
    def arguments(cls, state: State, settings: Settings) -> dict[str, Any]:  # noqa: ARG003
        raise ValueError("has no foreign files")


def test_an_encoder_from_outside_inverts_photos(
    tiny_card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "ENCODERS", (*encoders.ENCODERS, ColourEncoder))
    torch.manual_seed(0)
    encoder = ColourEncoder(num_ws=8, w_dim=16)
    native.save(tmp_path / "encoder.safetensors", encoder, torch.float32)
    card = yaml.safe_load(tiny_card.read_text())
    del card["samm"]
    card["generator"]["weights"] = str(tiny_card.parent / card["generator"]["weights"])
    card["encoder"] = {"kind": "colour", "weights": "encoder.safetensors"}
    (tmp_path / "colour.yaml").write_text(yaml.safe_dump(card))
    (tmp_path / "crops").mkdir()
    crops = smooth_crops(tmp_path / "crops", 2)
    arguments = ("invert", crops, "-o", tmp_path / "out", "--aligned", "--model", tmp_path / "colour.yaml", "--json")
    done = call_here(*arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == 2
    found = [np.load(tmp_path / f"out/latents/p{n}.npz")["w_plus"] for n in range(2)]
    assert found[0].shape == (8, 16)
    assert np.abs(found[0] - found[1]).max() > 1e-3
