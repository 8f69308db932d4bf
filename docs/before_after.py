"""Makes the picture of README and docs: one sample photo, and edits of it by the default model.

python docs/before_after.py OUT.jpg
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import oodinv

PHOTO = Path(__file__).resolve().parents[1] / "samples" / "eileen-collins.png"  # NASA, public domain
RECIPES = {"smile": 1.5, "older": 1.5, "turn-left": 1.5}
SIDE = 320
"""Pixels of one picture's side in the row."""
BAR = 24
"""Pixels of the row of labels."""
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
    sheet = Image.new("RGB", (SIDE * len(pictures), SIDE + BAR), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for place, (label, pixels) in enumerate(pictures.items()):
        picture = Image.fromarray(pixels)
        box = np.clip([*(centre - half), *(centre + half)], 0, [*picture.size] * 2)
        sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=tuple(box)), (SIDE * place, 0))
        draw.text((SIDE * place + SIDE / 2, SIDE + BAR / 2), label, "black", font, anchor="mm")
    sheet.save(sys.argv[1], quality=88)


if __name__ == "__main__":
    main()
