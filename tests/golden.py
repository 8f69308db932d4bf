"""The golden cases: weights by name, input images, stored outputs, and files in the published containers."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from network import golden_fill
from torch import Tensor

CASES = {"e4e": "ood_e4e_1024", "restyle": "ood_restyle_1024", "feature_style": "ood_featurestyle_1024"}


def fill(shared: Path) -> ModuleType:
    """The module that draws weights and images."""
    return golden_fill(shared / "golden")


def state_dict(shared: Path, case: str) -> dict[str, Tensor]:
    """Weights of a case under the published names."""
    golden = fill(shared)
    state: dict[str, Tensor] = golden.state_dict(golden.load_spec(shared / "golden" / f"{case}.spec.json.gz"))
    return state


def outputs(shared: Path, case: str) -> dict[str, np.ndarray[Any, Any]]:
    """Stored outputs of a case."""
    with np.load(shared / "golden" / f"{case}.npz") as arrays:
        return dict(arrays)


def below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under a prefix, without it."""
    return {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}


def deviation(found: Tensor, stored: np.ndarray[Any, Any]) -> float:
    """max |difference| / std of the stored array."""
    assert tuple(found.shape) == stored.shape
    return float(np.abs(found.detach().numpy() - stored).max() / stored.std())


def write_files(state: Mapping[str, Tensor], kind: str, folder: Path) -> Path:
    """Writes a model in the containers in which its parts are published, and its card; returns the card's path.

    e4e: everything but SAMM in the encoder's file. restyle: a generator file beside the encoder's. feature_style:
    a bare encoder, a generator file and a file with the average latent.
    """
    average = state["avg_latent"].expand(18, -1).clone()
    encoder, generator = below(state, "encoder."), below(state, "generator.")
    decoder = generator if kind == "e4e" else {}
    samm = {k: v for k, v in state.items() if k.startswith(("modulation.", "feats_conv."))}
    if kind == "feature_style":
        torch.save(encoder, folder / "encoder.pth")
        np.save(folder / "average.npy", average.numpy())
    else:
        both = {f"encoder.{k}": v for k, v in encoder.items()} | {f"decoder.{k}": v for k, v in decoder.items()}
        options = argparse.Namespace(output_size=1024, device="cuda:0")
        torch.save({"state_dict": both, "latent_avg": average, "opts": options}, folder / "encoder.pth")
    if kind != "e4e":
        torch.save({"g_ema": generator, "latent_avg": average.mean(dim=0)}, folder / "generator.pt")
    zeros = {k: torch.zeros_like(v) for k, v in samm.items()}
    torch.save({"params": zeros, "params_ema": samm}, folder / "samm.pth")
    generator_file = "encoder.pth" if kind == "e4e" else "generator.pt"
    average_line = ", average: average.npy" if kind == "feature_style" else ""
    card = folder / f"{kind}.yaml"
    card.write_text(
        f"name: {kind}\nsize: 1024\nlicence: none\n"
        f"generator: {{kind: stylegan2, weights: {generator_file}}}\n"
        f"encoder: {{kind: {kind}, weights: encoder.pth{average_line}}}\n"
        "samm: {weights: samm.pth, sizes: [32, 64, 128, 256], cycles: 2, flow_range: 0.08}\n"
    )
    return card
