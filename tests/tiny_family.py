"""A family of generators from outside the package."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
import yaml
from torch import Tensor, nn

from oodinv.models.encoders.pyramid import PyramidEncoder
from oodinv.models.generators.base import Features, Generator, Noise, Tap
from oodinv.models.naming import Settings, State
from oodinv.models.samm import Samm
from oodinv.weights import native


class Tiny(Generator):
    """Two blocks of a modulated convolution each; the picture is a sum of sines of the last features."""

    kind = "tiny"
    mark = r"tiny_mark"

    def __init__(self, w_dim: int = 8) -> None:
        super().__init__()
        self.size, self.num_ws, self.w_dim, self.z_dim = 16, 3, w_dim, w_dim
        self.taps = {8: Tap(4, 8), 16: Tap(4, 16)}
        self.register_buffer("w_avg", torch.zeros(w_dim))
        self.affines = nn.ModuleList(nn.Linear(w_dim, 4) for _ in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))

    def map(self, z: Tensor) -> Tensor:
        return z.tanh()

    def style_weights(self, row: int) -> Tensor:
        return self.affines[row].weight

    def convolutions(self, key: int) -> list[nn.Parameter]:
        return list(self.convs[list(self.taps).index(key)].parameters())

    @classmethod
    def rows_at(cls, size: int) -> int:  # noqa: ARG003
        return 3

    def start(self, w_plus: Tensor, noise: Noise) -> Features:  # noqa: ARG002
        return (self.affines[0](w_plus[:, 0])[:, :, None, None].expand(-1, -1, 4, 4),)

    def advance(self, features: Features, w_plus: Tensor, key: int) -> Tensor:
        index = list(self.taps).index(key)
        style = self.affines[index + 1](w_plus[:, index + 1])[:, :, None, None]
        return self.convs[index](F.interpolate(features[0], scale_factor=2) * style)

    def finish(self, x: Tensor, features: Features, w_plus: Tensor, key: int, noise: Noise) -> Features:  # noqa: ARG002
        return (F.leaky_relu(x),)

    def image(self, features: Features, w_plus: Tensor) -> Tensor:  # noqa: ARG002
        return features[0][:, :3].sin()

    def config(self) -> dict[str, Any]:
        return {"w_dim": self.w_dim}

    @classmethod
    def arguments(cls, state: State, settings: Settings) -> dict[str, Any]:  # noqa: ARG003
        raise ValueError("has no foreign files")


def write_card(folder: Path) -> Path:
    """Writes a generator of the family, an encoder, SAMM, and the card that joins them; returns the card's path."""
    torch.manual_seed(0)
    native.save(folder / "g.safetensors", Tiny(), torch.float32)
    encoder = PyramidEncoder(16, {16: 4, 8: 4, 4: 4}, num_ws=3, w_dim=8, hidden=8)
    native.save(folder / "e.safetensors", encoder, torch.float32)
    samm = Samm({8: 4, 16: 4}, {8: 4, 16: 4}, cycles=2, flow_range=0.1)
    native.save(folder / "s.safetensors", samm, torch.float32)
    card = {
        "name": "tiny-family",
        "size": 16,
        "generator": {"kind": "tiny", "weights": "g.safetensors"},
        "encoder": {"kind": "pyramid", "weights": "e.safetensors"},
        "samm": {"weights": "s.safetensors", "sizes": [8, 16]},
        "licence": "none",
    }
    (folder / "tiny-family.yaml").write_text(yaml.safe_dump(card))
    return folder / "tiny-family.yaml"
