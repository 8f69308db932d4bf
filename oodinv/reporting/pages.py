"""Self-contained HTML pages of results.

Pictures are embedded as small JPEGs in data URIs, so that a page is one file that opens offline. They are decoded
lazily: a page of 400 faces has some 20 MB and scrolls at once. At a click, before and after are shown in full size,
from their files beside the page.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from PIL import Image

from oodinv.imaging.files import atomic_write, readable
from oodinv.imaging.pixels import Pixels
from oodinv.reporting.html import EmbeddedPicture, embedded, environment
from oodinv.reporting.panels import COLUMNS, THUMBNAIL, Panel
from oodinv.reporting.sheets import numbered

PAGE_FACES = 400
"""Faces on one page; more go on further pages."""
_PAGE = "report"


@dataclass(frozen=True)
class _Shown:
    """A face of a page, with its pictures in the order of `COLUMNS`, and the addresses of before and after."""

    name: str
    pictures: list[EmbeddedPicture]
    files: list[str]


def is_reported(folder: Path) -> bool:
    """True if a folder has a report."""
    return (folder / numbered(_PAGE, 1, ".html")).is_file()


def write_pages(folder: Path, shown: Iterable[Panel], total: int, title: str, facts: dict[str, str]) -> list[Path]:
    """Writes report.html, for many faces also report-2.html and so on; returns the paths.

    total: number of faces. facts: names and values to list above the faces.

    Raises:
        OutputError: a file can't be written.
    """
    names = [numbered(_PAGE, n, ".html") for n in range(1, max(1, -(-total // PAGE_FACES)) + 1)]
    rest = iter(shown)
    for name in names:
        page = partial(
            _write_page,
            shown=islice(rest, PAGE_FACES),
            title=title,
            facts=facts,
            pages=names if len(names) > 1 else [],
        )
        atomic_write(folder / name, page)
    return [folder / name for name in names]


def _write_page(file: BinaryIO, shown: Iterable[Panel], title: str, facts: dict[str, str], pages: list[str]) -> None:
    """Renders a page piece by piece, so that only one face at a time is in memory."""
    pieces = (
        environment("oodinv.reporting")
        .get_template("page.html")
        .generate(
            title=title,
            facts=facts,
            pages=pages,
            faces=map(_shown, shown),
            size=THUMBNAIL,
            width=len(COLUMNS) * (THUMBNAIL + 4),
        )
    )
    file.writelines(readable(piece).encode() for piece in pieces)


def _shown(panel: Panel) -> _Shown:
    pictures = zip(COLUMNS, panel.pictures(THUMBNAIL), strict=True)
    files = [quote(file, errors="surrogateescape") for file in panel.files or ()]
    return _Shown(panel.name, [embedded(column, _jpeg(pixels)) for column, pixels in pictures], files)


def _jpeg(pixels: Pixels) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
