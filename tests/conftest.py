"""Fixtures that more than one test file uses."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with golden cases and photos beside the checkout; the test is skipped without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference data in {SHARED}, which is not there")
    return SHARED


@pytest.fixture(scope="session")
def samples() -> Path:
    """The photos that come with the project."""
    return Path(__file__).resolve().parents[1] / "samples"


@pytest.fixture(scope="session")
def tiny_card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Card of a 32 px model with random weights and SAMM: everything that a real one has, in milliseconds."""
    import torch
    import yaml

    from oodinv.models.pyramid import PyramidEncoder
    from oodinv.models.samm import Samm
    from oodinv.models.stylegan2 import Generator
    from oodinv.weights import own

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    channels = {4: 16, 8: 16, 16: 16, 32: 8}
    generator = Generator(32, channels, w_dim=16, z_dim=16, mapping_layers=2)
    encoder = PyramidEncoder(32, {32: 8, 16: 12, 8: 16, 4: 16}, num_ws=generator.num_ws, w_dim=16, hidden=16)
    samm = Samm({16: 16, 32: 8}, {16: 12, 32: 8}, cycles=2, flow_range=0.08)
    own.save(folder / "generator.safetensors", generator)
    own.save(folder / "encoder.safetensors", encoder)
    own.save(folder / "samm.safetensors", samm)
    card = {
        "name": "tiny",
        "size": 32,
        "generator": {"weights": "generator.safetensors"},
        "encoder": {"kind": "pyramid", "weights": "encoder.safetensors"},
        "samm": {"weights": "samm.safetensors", "sizes": [16, 32]},
        "licence": "none",
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(card))
    return path
