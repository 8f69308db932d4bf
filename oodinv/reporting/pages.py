"""Self-contained HTML pages of results.

Pictures are embedded as small JPEGs in data URIs, so that a page is one file that opens offline. They are decoded
lazily: a page of a thousand faces has some 20 MB and scrolls at once.
"""

import base64
import html
from collections.abc import Iterable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from oodinv.imaging.files import atomic_write, readable
from oodinv.imaging.pixels import Pixels
from oodinv.reporting.panels import COLUMNS, THUMBNAIL, Panel
from oodinv.reporting.sheets import numbered

PAGE_FACES = 1000
"""Faces on one page; more go on further pages."""
_PAGE = "report"


def is_reported(folder: Path) -> bool:
    """True if a folder has a report."""
    return (folder / numbered(_PAGE, 1, ".html")).is_file()


_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 1.5em; background: #fff; color: #111 }}
dl {{ display: grid; grid-template-columns: max-content auto; gap: 0 1em }}
dd {{ margin: 0 }}
main {{ display: flex; flex-wrap: wrap; gap: 1em }}
article {{ content-visibility: auto; contain-intrinsic-size: {width}px 230px; width: {width}px }}
h2 {{ font-size: 13px; margin: 0; overflow-wrap: anywhere }}
.row {{ display: flex; gap: 4px }}
figure {{ margin: 0; font-size: 12px }}
.pair {{ position: relative; width: {size}px; height: {size}px }}
.pair img {{ position: absolute; inset: 0 }}
.pair img + img {{ clip-path: inset(0 0 0 var(--cut, 50%)) }}
img {{ width: {size}px; height: {size}px; display: block }}
input {{ width: {size}px; margin: 0 }}
</style>
</head>
<body>
<h1>{title}</h1>
<dl>{facts}</dl>
<p>Under each name: before | after with a slider, after, difference (twice, around grey), mask (white was kept from
the photo), flow (hue is direction, white is none, each scaled to its own maximum).{pages}</p>
<main>
"""
_TAIL = """</main>
<script>
document.querySelector("main").addEventListener("input", function (event) {
  event.target.parentNode.style.setProperty("--cut", event.target.value + "%");
});
</script>
</body>
</html>
"""


def write_pages(folder: Path, shown: Iterable[Panel], total: int, title: str, facts: dict[str, str]) -> list[Path]:
    """Writes report.html, for many faces also report-2.html and so on; returns the paths.

    total: number of faces. facts: names and values to list above the faces.

    Raises:
        OutputError: a file can't be written.
    """
    names = [numbered(_PAGE, n, ".html") for n in range(1, max(1, -(-total // PAGE_FACES)) + 1)]
    rest = iter(shown)
    for number, name in enumerate(names):
        page = (panel for _, panel in zip(range(min(PAGE_FACES, total - number * PAGE_FACES)), rest, strict=False))
        head = _head(title, facts, names if len(names) > 1 else [])
        atomic_write(folder / name, partial(_write_page, head=head, shown=page))
    return [folder / name for name in names]


def _write_page(file: BinaryIO, head: str, shown: Iterable[Panel]) -> None:
    file.write(readable(head).encode())
    file.writelines(readable(_article(panel)).encode() for panel in shown)
    file.write(_TAIL.encode())


def _head(title: str, facts: dict[str, str], pages: list[str]) -> str:
    told = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in facts.items())
    links = "".join(f' <a href="{name}">{number}</a>' for number, name in enumerate(pages, start=1))
    width = len(COLUMNS) * (THUMBNAIL + 4)
    further = f" Pages:{links}" if links else ""
    return _HEAD.format(title=html.escape(title), facts=told, pages=further, size=THUMBNAIL, width=width)


def _article(panel: Panel) -> str:
    before, after, *rest = (_img(p, c) for p, c in zip(panel.pictures(THUMBNAIL), COLUMNS, strict=True))
    pair = f'<div class="pair">{before}{after}</div><input type="range" value="50" aria-label="before or after">'
    columns = zip(COLUMNS[1:], [after, *rest], strict=True)
    figures = "".join(f"<figure>{img}{column}</figure>" for column, img in columns)
    name = html.escape(panel.name)
    return f'<article><h2>{name}</h2><div class="row"><figure class="slider">{pair}</figure>{figures}</div></article>\n'


def _img(pixels: Pixels, column: str) -> str:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=82)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img loading="lazy" decoding="async" alt="{column}" src="data:image/jpeg;base64,{data}">'
