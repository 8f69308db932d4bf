"""Two steps of the published SAMM recipe at 1024 px, with random weights: shows that it runs, and in what memory.

    python bench/published_recipe.py [--recipe ffhq-e4e-samm] [--steps 2]

Writes random weights of the published sizes (encoder and generator) and noise for photos to a temporary folder, and
runs `oodinv train samm --allow-missing` on them: without VGG19 and ArcFace, their losses are skipped, and the
log says so. Prints the log of each step and the highest resident memory of that process.
"""

import argparse
import json
import resource
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml
from program import MAIN

from oodinv.imaging.encode import write_png
from oodinv.imaging.pixels import resize_pixels
from oodinv.models.encoders.e4e import E4e
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.recipe.base import recipe_path
from oodinv.weights import native

SIZE = 1024
PHOTOS = 60
"""Enough for one in twenty to be held out."""


def write_model(folder: Path) -> Path:
    """Random generator and e4e encoder of the published sizes and their card."""
    generator = StyleGAN2(SIZE)
    native.save(folder / "generator.safetensors", generator)
    native.save(folder / "encoder.safetensors", E4e(num_ws=generator.num_ws))
    card = {
        "name": "random",
        "size": SIZE,
        "generator": {"weights": "generator.safetensors"},
        "encoder": {"kind": "e4e", "weights": "encoder.safetensors"},
        "licence": "none",
    }
    path = folder / "random.yaml"
    path.write_text(yaml.safe_dump(card))
    return path


def write_photos(folder: Path) -> Path:
    """Smooth noise, all pictures different."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(PHOTOS):
        small = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        write_png(folder / f"{number:03d}.png", resize_pixels(small, SIZE))
    return folder


def write_recipe(name: str, card: Path, photos: Path, steps: int, folder: Path) -> Path:
    """The shipped recipe for `steps` steps, all sizes on from the first."""
    recipe = yaml.safe_load(recipe_path("train", name).read_text())
    recipe["model"], recipe["data"]["folder"] = str(card), str(photos)
    recipe["schedule"] |= {"steps": steps, "log_every": 1, "evaluate_every": steps, "checkpoint_every": steps}
    recipe["start_steps"] = dict.fromkeys(recipe["sizes"], 0)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs a few steps of a published SAMM recipe with random weights.")
    parser.add_argument("--recipe", default="ffhq-e4e-samm", help="name of a shipped SAMM recipe for e4e")
    parser.add_argument("--steps", type=int, default=2, help="steps to take")
    options = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        recipe = write_recipe(
            options.recipe, write_model(folder), write_photos(folder / "photos"), options.steps, folder
        )
        arguments = ["train", "samm", "-r", str(recipe), "-o", str(folder / "run"), "--allow-missing", "--quiet"]
        subprocess.run([*MAIN, *arguments], check=True)
        for line in (folder / "run" / "log.jsonl").read_text().splitlines():
            entry = json.loads(line)
            if "images_per_second" in entry:
                print(entry)
            elif "notes" in entry:
                print("without:", *entry["notes"], sep="\n  ")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
