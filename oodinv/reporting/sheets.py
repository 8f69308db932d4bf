"""Contact sheets of many faces, and strips of a sweep."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from oodinv.imaging.encode import write_png
from oodinv.imaging.files import readable
from oodinv.imaging.pixels import Pixels
from oodinv.reporting.panels import COLUMNS, THUMBNAIL, Panel, scaled_to
from oodinv.runs.sources.folder import SHEET

SHEET_FACES = 100
"""Faces on one contact sheet; more go on further sheets."""
STRIP_TILE = 512
"""Largest side in pixels of a picture in a strip; composites have the full size."""
_LABEL = 20


def contact_sheet(shown: Sequence[Panel]) -> Pixels:
    """Draws all faces in one picture, each as a row of `COLUMNS` under its name; many faces in several columns.

    The titles of the columns are at the top.
    """
    width, height = len(COLUMNS) * THUMBNAIL + 8, THUMBNAIL + _LABEL
    across = max(1, round((len(shown) * height / width) ** 0.5 * 1.1))
    down = -(-len(shown) // across)
    sheet = np.full((_LABEL + down * height, across * width, 3), 255, dtype=np.uint8)
    titles = np.concatenate([_label(title, THUMBNAIL) for title in COLUMNS], axis=1)
    for left in range(0, across * width, width):
        sheet[:_LABEL, left : left + width - 8] = titles
    for number, panel in enumerate(shown):
        top, left = _LABEL + number // across * height, number % across * width
        row = np.concatenate(panel.pictures(THUMBNAIL), axis=1)
        sheet[top + _LABEL : top + height, left : left + width - 8] = row
        sheet[top : top + _LABEL, left : left + width - 8] = _label(panel.name, width - 8)
    return sheet


def strip(pictures: Sequence[tuple[str, Pixels]]) -> Pixels:
    """Draws pictures (label, uint8 (S, S, 3)) side by side under their labels, scaled to 128 to 512 pixels."""
    size = min(max(128, pictures[0][1].shape[0]), STRIP_TILE)
    height = max(_LABEL, size // 16)
    columns = [np.concatenate([_label(label, size, height), scaled_to(pixels, size)]) for label, pixels in pictures]
    return np.concatenate(columns, axis=1)


def write_sheets(folder: Path, shown: Iterable[Panel], xmp: bytes) -> list[Path]:
    """Writes contact-sheet.png, for many faces also contact-sheet-2.png and so on; returns the paths.

    Raises:
        OutputError: a file can't be written.
    """
    paths: list[Path] = []
    small = (panel.at_most(THUMBNAIL) for panel in shown)
    for number, part in enumerate(_parts(small, SHEET_FACES), start=1):
        paths.append(folder / numbered(SHEET, number, ".png"))
        write_png(paths[-1], contact_sheet(part), xmp)
    return paths


def numbered(stem: str, number: int, suffix: str) -> str:
    """Returns the file name of a sheet or page; the first has no number."""
    return f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}"


def _parts(shown: Iterable[Panel], size: int) -> Iterator[list[Panel]]:
    part: list[Panel] = []
    for panel in shown:
        part.append(panel)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def _label(text: str, width: int, height: int = _LABEL) -> Pixels:
    """Draws black text on white, uint8 (height, width, 3); long text is cut at the start, as its end differs most."""
    text, font = readable(text), ImageFont.load_default(height * 0.7)
    while text and font.getlength(text) > width - 4:
        text = text[1:]
    picture = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(picture).text((2, 1), text, fill="black", font=font)
    return np.array(picture)
