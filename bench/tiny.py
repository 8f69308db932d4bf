"""A model of 32 px with random weights: everything that a real one has, in milliseconds."""

from pathlib import Path

import torch
import yaml

from oodinv.models.encoders.pyramid import PyramidEncoder
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.models.samm import Samm
from oodinv.weights import native

SIZE = 32


def write_card(folder: Path, cycles: int = 2) -> Path:
    """Writes generator, encoder, SAMM with so many cycles, and the card that joins them; returns the card's path."""
    torch.manual_seed(0)
    channels = {4: 16, 8: 16, 16: 16, 32: 8}
    generator = StyleGAN2(SIZE, channels, w_dim=16, z_dim=16, mapping_layers=2)
    encoder = PyramidEncoder(SIZE, {32: 8, 16: 12, 8: 16, 4: 16}, num_ws=generator.num_ws, w_dim=16, hidden=16)
    samm = Samm({16: 16, 32: 8}, {16: 12, 32: 8}, cycles=cycles, flow_range=0.08)
    native.save(folder / "generator.safetensors", generator)
    native.save(folder / "encoder.safetensors", encoder)
    native.save(folder / "samm.safetensors", samm)
    card = {
        "name": "tiny",
        "size": SIZE,
        "generator": {"weights": "generator.safetensors"},
        "encoder": {"kind": "pyramid", "weights": "encoder.safetensors"},
        "samm": {"weights": "samm.safetensors", "sizes": [16, 32], "cycles": cycles},
        "licence": "none",
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(card))
    return path
