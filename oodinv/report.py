"""Looking at results: a contact sheet, strips of a sweep, and an HTML page that needs nothing but itself.

Pictures lie in the page as small JPEGs in data URIs, so that one file can be passed on and opened offline. They
are decoded only when they come into view: the page of a thousand faces has some 20 MB and scrolls at once.
"""

import base64
import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from oodinv.imaging.encode import write_png
from oodinv.imaging.files import atomic_write
from oodinv.imaging.flow import flow_colours
from oodinv.imaging.pixels import Pixels
from oodinv.imaging.provenance import Provenance, composite_mark
from oodinv.runs.results import Results, read_arrays, read_picture
from oodinv.runs.sources import SHEET

THUMBNAIL = 160
COLUMNS = ("before", "after", "difference", "mask", "flow")
SHEET_FACES = 500
"""Faces on one contact sheet; more go on further sheets."""
PAGE_FACES = 1000
"""Faces on one page; more go on further pages."""
_LABEL = 16
_PAGE = "report"


@dataclass(frozen=True, eq=False)
class Panel:
    """One result to look at.

    before, after uint8 (S, S, 3); mask uint8 (S, S), white = kept; flow (2, s, s) in grid units, or None.
    """

    name: str
    before: Pixels
    after: Pixels
    mask: Pixels
    flow: NDArray[np.floating] | None

    def at_most(self, size: int) -> "Panel":
        """The same no larger than (size, size), which is all that many faces at once have room for in memory."""
        if self.before.shape[0] <= size:
            return self
        before, after, mask = (_fit(p, size) for p in (self.before, self.after, self.mask))
        return Panel(self.name, before, after, mask, self.flow)

    def pictures(self, size: int) -> list[Pixels]:
        """The columns, each uint8 (size, size, 3)."""
        still = np.zeros((2, 1, 1)) if self.flow is None else self.flow
        grey = np.repeat(self.mask[..., None], 3, axis=2)
        return [_fit(p, size) for p in (self.before, self.after, difference(self), grey, flow_colours(still))]


def panels(results: Results) -> Iterator[Panel]:
    """What a folder holds, face by face; parts that were not saved are left empty.

    Raises:
        ImageError: a crop or a composite is missing or damaged.
    """
    command = f"oodinv {results.header.command}"
    for face in results.all_faces():
        before = read_picture(results.path / f"aligned/{face.crop}.png", command)
        after = read_picture(results.path / f"composites/{face.name}.png", command)
        flows_path = results.path / f"flows/{face.name}.npz"
        flows = read_arrays(flows_path, command) if flows_path.is_file() else {}
        mask = np.rint(flows.get("mask", np.zeros(before.shape[:2])).astype(np.float32) * 255).astype(np.uint8)
        yield Panel(face.name, before, after, mask, finest_flow(flows))


def finest_flow(flows: dict[str, NDArray[np.floating]]) -> NDArray[np.floating] | None:
    """The flow of the largest size among saved arrays, (2, S, S), or None where there is none."""
    found = [array for key, array in flows.items() if key.startswith("flow_")]
    return max(found, key=lambda array: array.shape[-1], default=None)


def difference(panel: Panel) -> Pixels:
    """Twice after − before around mid-grey, uint8 (S, S, 3): lighter where the result is lighter."""
    change: NDArray[np.float32] = np.subtract(panel.after, panel.before, dtype=np.float32)
    return np.asarray(np.rint(128 + 2 * change).clip(0, 255), dtype=np.uint8)


def write_report(results: Results) -> list[Path]:
    """Writes contact sheets and pages of all faces of a run into its folder; returns the paths.

    Raises:
        ImageError: a crop or a composite is missing or damaged. OutputError: a file can't be written.
    """
    total = sum(1 for _ in results.all_faces())
    facts = {} if results.recipe is None else {"recipe": results.recipe}
    facts |= {
        "model": f"{results.model} (weights: {results.header.card.get('licence')})",
        "faces": str(total),
        "composed by the run": results.composition.technique,
        "these pictures are": "photos with parts drawn by a trained network (compositeWithTrainedAlgorithmicMedia)",
    }
    title = f"oodinv {results.header.command}" + ("" if results.recipe is None else f": {results.recipe}")
    mark = composite_mark(Provenance(model=results.model, recipe=results.recipe))
    paths = write_sheets(results.path, panels(results), mark)
    return paths + write_pages(results.path, panels(results), total, title, facts)


def is_reported(folder: Path) -> bool:
    """Whether a folder has a report."""
    return (folder / _numbered(_PAGE, 1, ".html")).is_file()


def contact_sheet(shown: Sequence[Panel]) -> Pixels:
    """All faces on one picture, each as a row of COLUMNS under its name; several rows side by side if many."""
    size = 128 if len(shown) <= 40 else 96 if len(shown) <= 150 else 64
    width, height = len(COLUMNS) * size + 8, size + _LABEL
    across = max(1, round((len(shown) * height / width) ** 0.5 * 1.1))
    down = -(-len(shown) // across)
    sheet = np.full((down * height, across * width, 3), 255, dtype=np.uint8)
    for number, panel in enumerate(shown):
        top, left = number // across * height, number % across * width
        row = np.concatenate(panel.pictures(size), axis=1)
        sheet[top + _LABEL : top + height, left : left + width - 8] = row
        sheet[top : top + _LABEL, left : left + width - 8] = _label(panel.name, width - 8)
    return sheet


def strip(pictures: Sequence[tuple[str, Pixels]]) -> Pixels:
    """Pictures (label, uint8 (S, S, 3)) side by side under their labels; small ones are enlarged to 128 pixels."""
    size = max(128, pictures[0][1].shape[0])
    columns = [np.concatenate([_label(label, size), _fit(pixels, size)]) for label, pixels in pictures]
    return np.concatenate(columns, axis=1)


def write_sheets(folder: Path, shown: Iterable[Panel], xmp: bytes) -> list[Path]:
    """Writes contact-sheet.png, and contact-sheet-2.png and so on where there are many faces; returns the paths.

    Raises:
        OutputError: a file can't be written.
    """
    paths: list[Path] = []
    small = (panel.at_most(THUMBNAIL) for panel in shown)
    for number, part in enumerate(_parts(small, SHEET_FACES), start=1):
        paths.append(folder / _numbered(SHEET, number, ".png"))
        write_png(paths[-1], contact_sheet(part), xmp)
    return paths


def _numbered(stem: str, number: int, suffix: str) -> str:
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


def _fit(pixels: Pixels, size: int) -> Pixels:
    """Square picture (S, S, 3) or (S, S) resized to size: averaged down, or enlarged smoothly."""
    how = cv2.INTER_AREA if pixels.shape[0] > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=how), dtype=np.uint8)


def _label(text: str, width: int) -> Pixels:
    """Black text on white, uint8 (_LABEL, width, 3); of a long one its end, which tells results apart."""
    font = ImageFont.load_default(11)
    while text and font.getlength(text) > width - 4:
        text = text[1:]
    picture = Image.new("RGB", (width, _LABEL), "white")
    ImageDraw.Draw(picture).text((2, 1), text, fill="black", font=font)
    return np.array(picture)


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
    """Writes report.html, and report-2.html and so on where there are many faces; returns the paths.

    total: how many faces are shown. facts: what to say above them, by name.

    Raises:
        OutputError: a file can't be written.
    """
    names = [_numbered(_PAGE, n, ".html") for n in range(1, max(1, -(-total // PAGE_FACES)) + 1)]
    rest = iter(shown)
    for number, name in enumerate(names):
        page = (panel for _, panel in zip(range(min(PAGE_FACES, total - number * PAGE_FACES)), rest, strict=False))
        head = _head(title, facts, names if len(names) > 1 else [])
        atomic_write(folder / name, partial(_write_page, head=head, shown=page))
    return [folder / name for name in names]


def _write_page(file: BinaryIO, head: str, shown: Iterable[Panel]) -> None:
    file.write(head.encode())
    file.writelines(_article(panel).encode() for panel in shown)
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
