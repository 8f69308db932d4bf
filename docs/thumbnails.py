"""Writes the pictures that `oodinv recipes list` names, a sample photo and its edit, and all of them in one sheet.

python docs/thumbnails.py [RECIPE...]
"""

import sys
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import oodinv
from oodinv.api import Result
from oodinv.recipe.base import recipe_names
from oodinv.recipe.edit import find_edit_recipe, read_edit_recipe

ROOT = Path(__file__).resolve().parents[1]
PHOTO, OTHERS = "eileen-collins.png", {"beard": "rishi-sunak.jpg", "less-smile": "barack-obama.jpg"}
"""Samples that are edited: for all recipes, and for some."""
SIDE, LARGEST = 192, 30_000
"""Pixels of a picture's side; bytes of a file."""
COLUMNS, BAR = 3, 22
"""Of the sheet of all recipes; pixels of a row of names."""


def main() -> None:
    """Edits the samples by each recipe for the default model."""
    editor = oodinv.load(device="cpu")
    inverted = cache(lambda name: editor.invert(ROOT / "samples" / name))
    for recipe in sys.argv[1:] or recipe_names("edit"):
        path = find_edit_recipe(recipe)
        if read_edit_recipe(path).model not in (None, oodinv.DEFAULT_MODEL):
            continue
        before = inverted(OTHERS.get(recipe, PHOTO))
        write(path.with_suffix(".jpg"), before, editor.edit(before, recipe))
    write_sheet(sorted(find_edit_recipe("older").parent.glob("*.jpg")), ROOT / "docs" / "images" / "recipes.jpg")


def write_sheet(pictures: list[Path], path: Path) -> None:
    """Writes all small pictures with their names."""
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * 2 * SIDE, rows * (SIDE + BAR)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for place, picture in enumerate(pictures):
        left, top = place % COLUMNS * 2 * SIDE, place // COLUMNS * (SIDE + BAR)
        with Image.open(picture) as opened:
            sheet.paste(opened, (left, top + BAR))
        draw.text((left + SIDE, top + BAR / 2), picture.stem, "black", font, anchor="mm")
    sheet.save(path, quality=85)


def write(path: Path, before: Result, after: Result) -> None:
    """Writes the crops of photo and result side by side."""
    placed = before.faces[0].subject.aligned
    assert placed is not None
    (left, top), (right, bottom) = placed.quad.min(axis=0), placed.quad.max(axis=0)
    height, width = before.original.pixels.shape[:2]
    box = tuple(np.clip((left, top, right, bottom), 0, (width, height, width, height)).tolist())
    sheet = Image.new("RGB", (2 * SIDE, SIDE))
    for place, pixels in enumerate((before.original.pixels, after.pasted)):
        part = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)
        sheet.paste(part, (place * SIDE, 0))
    sheet.save(path, quality=85)
    assert path.stat().st_size <= LARGEST, f"{path} is too large"


if __name__ == "__main__":
    main()
