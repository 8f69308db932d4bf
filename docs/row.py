"""Draws pictures side by side under their labels, as a JPEG for the documentation.

python docs/row.py OUT.jpg LEFT,TOP,RIGHT,BOTTOM LABEL=PICTURE.png ...

The box, as fractions of the side, is what is shown of each picture.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE = 320
"""Pixels of one picture's side in the row."""
BAR = 24
"""Pixels of the row of labels."""

Box = tuple[float, float, float, float]


def row(pictures: Mapping[str, Image.Image], box: Box) -> Image.Image:
    """Draws a box, in pixels, of each picture; labels are the keys."""
    sheet = Image.new("RGB", (SIDE * len(pictures), SIDE + BAR), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for place, (label, picture) in enumerate(pictures.items()):
        sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box), (SIDE * place, 0))
        draw.text((SIDE * place + SIDE / 2, SIDE + BAR / 2), label, "black", font, anchor="mm")
    return sheet


def main() -> None:
    """Draws the row that the arguments describe."""
    out, shares, *named = sys.argv[1:]
    pictures = {
        label: Image.open(Path(file)).convert("RGB") for label, _, file in (one.partition("=") for one in named)
    }
    side = next(iter(pictures.values())).width
    left, top, right, bottom = (float(share) * side for share in shares.split(","))
    row(pictures, (left, top, right, bottom)).save(out, quality=88)


if __name__ == "__main__":
    main()
