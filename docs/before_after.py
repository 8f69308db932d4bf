"""Makes the picture of README and docs: one sample photo, and edits of it by the default model.

python docs/before_after.py OUT.jpg
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from row import row

import oodinv

PHOTO = Path(__file__).resolve().parents[1] / "samples" / "eileen-collins.png"  # NASA, public domain
RECIPES = {"smile": 1, "older": 1, "younger": 1, "turn-left": 1}
MARGIN = 1.15
"""Of the crop's side: how much of the photo around the crop is shown."""


def main() -> None:
    """Edits the photo by each recipe and writes all of them side by side."""
    editor = oodinv.load(device="cpu")
    inverted = editor.invert(PHOTO)
    pictures = {"photo": inverted.original.pixels}
    for recipe, strength in RECIPES.items():
        pictures[recipe] = editor.edit(inverted, recipe, strength=strength).pasted
    placed = inverted.faces[0].subject.aligned
    assert placed is not None
    centre, half = placed.quad.mean(axis=0), MARGIN * np.ptp(placed.quad[:, 0]) / 2
    box = np.clip([*(centre - half), *(centre + half)], 0, [*reversed(pictures["photo"].shape[:2])] * 2)
    row({label: Image.fromarray(pixels) for label, pixels in pictures.items()}, tuple(box)).save(
        sys.argv[1], quality=88
    )


if __name__ == "__main__":
    main()
