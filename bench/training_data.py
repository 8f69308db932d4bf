"""What to train on: short runs on different mixtures of photos and in different framings, scored on the same ground.

    python bench/training_data.py FACES [--scales 1.0,0.85,0.7] [--steps 1500] [--limit 200] [--output runs/data]

FACES holds a folder for each set of photos. Encoder and generator are trained from scratch, as the recipe mini-joint
says but for so many steps: on each set alone and on all of them in the first framing, on all of them in the others.
Every run is scored on faces that no run saw, those of each set apart. What is compared is the part that the tightest
framing shows, enlarged to 128 px, with the same part of the photo, so that a framing pays for the pixels that it
spends around the face. Prints LPIPS (AlexNet; lower is better) and PSNR in dB as a table. A finished run in the output
folder isn't repeated.
"""

import argparse
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import yaml
from heldout import batched, held_out_photos
from program import MAIN
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from oodinv.faces.crop import crop
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.imaging.pixels import Pixels, to_tensor
from oodinv.inversion import invert
from oodinv.metrics.pixel import psnr
from oodinv.models.perceptors.lpips import Lpips
from oodinv.recipe.base import recipe_path
from oodinv.training.losses import lpips_each
from oodinv.weights.build import Model, load_lpips, load_named

VIEW = 128
"""Side in pixels of the compared pictures."""


@dataclass(frozen=True)
class Variant:
    """One run: the photos that it sees, and how tightly they are cropped."""

    photos: Path
    scale: float

    @property
    def name(self) -> str:
        return f"{self.photos.name} at {self.scale:g}"


@dataclass(frozen=True, eq=False)
class Sitter:
    """A held-out face: its crop at each scale for a model, and what the tightest of them shows, for the comparison."""

    crops: dict[float, Pixels]
    view: Pixels


def variants(faces: Path, sets: list[Path], scales: list[float]) -> list[Variant]:
    """Each set alone and all of them in the first framing, then all of them in the others."""
    alone = [Variant(photos, scales[0]) for photos in sets]
    return alone + [Variant(faces, scale) for scale in scales]


def train(variant: Variant, shipped: dict[str, Any], steps: int, folder: Path) -> Path:
    """Trains a variant by a shipped recipe from scratch, or goes on with it, and returns the card of its model."""
    card = folder / "run" / "model" / "trial.yaml"
    data = {"folder": str(variant.photos), "crop": {"framing": "ffhq", "scale": variant.scale}}
    schedule = {"steps": steps, "learning_rate": 0.002, "warmup": 200}
    schedule |= {"evaluate_every": steps, "checkpoint_every": min(250, steps)}
    changes = {"name": "trial", "data": shipped["data"] | data, "schedule": shipped["schedule"] | schedule}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(shipped | changes))
    begun = ["--resume"] if (folder / "run" / "checkpoint.pt").is_file() else []
    arguments = ["train", "generator", "-r", str(path), "-o", str(folder / "run"), "--quiet", *begun]
    subprocess.run([*MAIN, *arguments], check=True)
    return card


def sitters(folder: Path, scales: list[float], size: int) -> Iterator[Sitter]:
    """The faces of `heldout.held_out_photos`, cropped at each scale."""
    for pixels, points in held_out_photos(folder):
        crops = {scale: crop(pixels, ffhq_quad(points, scale), size) for scale in scales}
        yield Sitter(crops, crop(pixels, ffhq_quad(points, min(scales)), VIEW))


def seen(drawn: Tensor, share: float) -> Tensor:
    """The middle of pictures (B, 3, S, S), so much of their side, at the size that is compared."""
    middle = torch.tensor([[share, 0.0, 0.0], [0.0, share, 0.0]]).expand(len(drawn), 2, 3)
    grid = affine_grid(middle, [len(drawn), 3, VIEW, VIEW], align_corners=False)
    return grid_sample(drawn, grid, mode="bicubic", padding_mode="border", align_corners=False)


@torch.no_grad()
def score(model: Model, lpips: Lpips, faces: list[Sitter]) -> tuple[float, float]:
    """Means of LPIPS and PSNR over the faces."""
    scale = model.card.crop.scale
    found: list[tuple[Tensor, Tensor]] = []
    for some in batched(faces):
        drawn = invert(model, torch.cat([to_tensor(face.crops[scale]) for face in some])).generated
        shown = seen(drawn, min(some[0].crops) / scale).clamp(-1, 1)
        photos = torch.cat([to_tensor(face.view) for face in some])
        found.append((lpips_each(lpips, shown, photos), psnr(shown, photos)))
    means = [torch.cat(values).mean().item() for values in zip(*found, strict=True)]
    return means[0], means[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compares mixtures and framings of training photos.")
    parser.add_argument("faces", type=Path, help="folder with a folder for each set of photos")
    parser.add_argument("--scales", default="1.0,0.85,0.7", help="crop scales, that of the mixtures first")
    parser.add_argument("--steps", type=int, default=1500, help="steps of each run")
    parser.add_argument("--limit", type=int, default=200, help="most held-out faces of each set")
    parser.add_argument("--output", type=Path, default=Path("runs/data"), help="folder of the runs")
    options = parser.parse_args()
    scales = [float(scale) for scale in options.scales.split(",")]
    sets = sorted(path for path in options.faces.resolve().iterdir() if path.is_dir())
    recipe = yaml.safe_load(recipe_path("train", "mini-joint").read_text())
    size = int(recipe["data"]["size"])
    held_out = {photos.name: list(islice(sitters(photos, scales, size), options.limit)) for photos in sets}
    lpips = load_lpips("alexnet")
    print("| trained on |", *(f"{name}: LPIPS | PSNR |" for name in held_out))
    print("|---|" + "---|---|" * len(held_out))
    for variant in variants(options.faces.resolve(), sets, scales):
        folder = options.output / variant.name.replace(" ", "-")
        model = load_named(str(train(variant, recipe, options.steps, folder)))
        cells = (
            f"{lpips_:.4f} | {decibels:.2f} |"
            for lpips_, decibels in (score(model, lpips, faces) for faces in held_out.values())
        )
        print(f"| {variant.name} |", *cells, flush=True)


if __name__ == "__main__":
    main()
