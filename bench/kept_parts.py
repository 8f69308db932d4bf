"""Measures what the shipped edit recipes change inside parts that they should leave alone, by CelebAMask-HQ's labels.

    python bench/kept_parts.py FACES LABELS [--model NAME] [--limit 40] [--json]

FACES: aligned crops; LABELS: their label maps. Of the faces that training leaves out, those with glasses, hat, earring,
necklace or clothes are inverted by the encoder alone and edited at strength 1. Prints for each recipe the mean change
in grey levels inside each label.
"""

import argparse
import json
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from edits import edited
from heldout import KEPT, Face, aligned_faces

from oodinv import DEFAULT_MODEL
from oodinv.editing.apply import EditedFace, inverted_faces
from oodinv.imaging.pixels import to_tensor
from oodinv.inversion import invert
from oodinv.recipe.base import recipe_names
from oodinv.recipe.edit import find_edit_recipe, read_edit_recipe
from oodinv.weights.build import load_named

SMALLEST = 1 / 500
"""Share of a crop below which a label is left out."""


def kept_labels(face: Face) -> dict[str, np.ndarray]:
    """Finds the pixels of each kept part, bool (S, S) by name; parts that cover less than SMALLEST are left out."""
    if face.labels is None:
        return {}
    found = {name: face.labels == value for name, value in KEPT.items()}
    return {name: where for name, where in found.items() if where.mean() > SMALLEST}


def changes(faces: list[Face], results: list[EditedFace]) -> dict[str, float]:
    """Mean change in levels inside each label, over the faces that have it."""
    found: dict[str, list[float]] = {}
    for face, result in zip(faces, results, strict=True):
        change = np.abs(result.results[0].composite.astype(float) - face.crop).mean(axis=2)
        for name, where in kept_labels(face).items():
            found.setdefault(name, []).append(float(change[where].mean()))
    return {name: float(np.mean(values)) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what edit recipes change inside parts that they keep.")
    parser.add_argument("faces", type=Path, help="folder of aligned crops")
    parser.add_argument("labels", type=Path, help="folder of their label maps")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or card")
    parser.add_argument("--limit", type=int, default=40, help="faces at most")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    model = load_named(options.model)
    held_out = aligned_faces(options.faces, model.card.size, False, options.labels)
    faces = list(islice((face for face in held_out if kept_labels(face)), options.limit))
    with torch.inference_mode():
        inverted = [inverted_faces([face.crop], invert(model, to_tensor(face.crop)))[0] for face in faces]
    found = {}
    for name in recipe_names("edit"):
        if read_edit_recipe(find_edit_recipe(name)).model in (None, options.model):
            found[name] = changes(faces, edited(model, name, inverted, [1.0]))
            if not options.json:
                values = "  ".join(f"{part} {value:5.2f}" for part, value in found[name].items())
                print(f"{name:14} {values}", flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
