"""A model of 16 or 32 px with random weights: everything that a real one has, in milliseconds."""

from pathlib import Path

import torch
import yaml

from oodinv.models.encoders.pyramid import PyramidEncoder
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.models.samm import Samm
from oodinv.weights import native

SIZE = 32


def write_card(folder: Path, cycles: int = 2, size: int = SIZE) -> Path:
    """Writes generator, encoder, SAMM with so many cycles, and the card that joins them; returns the card's path."""
    torch.manual_seed(0)
    half = size // 2
    channels = {4: 16, 8: 16, 16: 16, size: 8}
    generator = StyleGAN2(size, channels, w_dim=16, z_dim=16, mapping_layers=2)
    widths = {size: 8, half: 12, half // 2: 16, 4: 16}
    encoder = PyramidEncoder(size, widths, num_ws=generator.num_ws, w_dim=16, hidden=16)
    samm = Samm({half: 16, size: 8}, {half: 12, size: 8}, cycles=cycles, flow_range=0.08)
    native.save(folder / "generator.safetensors", generator)
    native.save(folder / "encoder.safetensors", encoder)
    native.save(folder / "samm.safetensors", samm)
    card = {
        "name": "tiny",
        "size": size,
        "generator": {"weights": "generator.safetensors"},
        "encoder": {"kind": "pyramid", "weights": "encoder.safetensors"},
        "samm": {"weights": "samm.safetensors", "sizes": [half, size], "cycles": cycles},
        "licence": "none",
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(card))
    return path
