"""Sheets, strips and pages: what they show, and that a page needs nothing but itself. And what pictures say."""

import base64
import tracemalloc
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tolerances import LEVEL

from oodinv.imaging.decode import read_photo
from oodinv.imaging.encode import write_photo
from oodinv.imaging.flow import colour_wheel, flow_colours
from oodinv.imaging.metadata import JPEG_XMP_BYTES
from oodinv.imaging.photo import Photo
from oodinv.imaging.provenance import Provenance, packet
from oodinv.reporting.pages import write_pages
from oodinv.reporting.panels import Panel, difference
from oodinv.reporting.sheets import contact_sheet, strip, write_sheets

IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
DC = "http://purl.org/dc/elements/1.1/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
OWN_PACKET = (
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}">'
    '<rdf:Description rdf:about="uuid:1" xmlns:odd="http://odd/" odd:key="kept" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="Camera" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType="old">'
    f'<dc:creator xmlns:dc="{DC}"><rdf:Seq><rdf:li>Ann &amp; Bo</rdf:li></rdf:Seq></dc:creator>'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
).encode()


class Page(HTMLParser):
    """Every reference of a page, and its names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [
            value or "" for key, value in attributes if key in ("src", "href", "srcset", "action", "data")
        ]


def panel(name: str, size: int = 64, seed: int = 0) -> Panel:
    rng = np.random.default_rng(seed)
    before, after = rng.integers(0, 255, (2, size, size, 3), dtype=np.uint8)
    flow = rng.normal(size=(2, 32, 32)).astype(np.float32)
    return Panel(name, before, after, rng.integers(0, 255, (size, size), dtype=np.uint8), flow)


def description(xmp: bytes) -> dict[str, str]:
    """All properties that are attributes, by qualified name."""
    root = ET.fromstring(xmp)
    return {key: value for d in root.iter(f"{{{RDF}}}Description") for key, value in d.attrib.items()}


def test_a_page_refers_to_nothing_outside_itself(tmp_path: Path) -> None:
    shown = [panel("a"), panel('<script>alert("x")</script>', seed=1), panel("b&c", seed=2)]
    (path,) = write_pages(tmp_path, shown, 3, "title <b>", {"recipe": "older & wiser"})
    text = path.read_text()
    page = Page(text)
    assert page.tags.count("article") == 3
    assert page.tags.count("script") == 1
    assert page.tags.count("input") == 4  # one a face, and that of the full size
    assert page.references
    assert all(reference.startswith("data:") for reference in page.references)
    assert "http:" not in text
    assert "https:" not in text
    assert "default-src 'none'" in text


def test_a_page_shows_before_and_after(tmp_path: Path) -> None:
    shown = panel("a", size=256)
    (path,) = write_pages(tmp_path, [shown], 1, "t", {})
    pictures = [r for r in Page(path.read_text()).references if r.startswith("data:image")]
    decoded = [np.asarray(Image.open(BytesIO(base64.b64decode(p.partition(",")[2])))) for p in pictures]
    assert all(p.shape == (256, 256, 3) for p in decoded)
    for wanted, found in ((shown.before, decoded[0]), (shown.after, decoded[1])):
        errors = [np.abs(found.astype(int) - other).mean() for other in (wanted, shown.after, shown.before)]
        assert errors[0] == min(errors)


def test_a_page_names_the_files_of_the_full_size(tmp_path: Path) -> None:
    files = "aligned/a b/ä#1.png", "composites/a b/ä#1@+1.png"
    (path,) = write_pages(tmp_path, [replace(panel("a"), files=files), panel("b", seed=1)], 2, "t", {})
    text = path.read_text()
    assert text.count("data-before=") == 1
    assert 'data-before="aligned/a%20b/%C3%A4%231.png"' in text
    assert 'data-after="composites/a%20b/%C3%A4%231%40%2B1.png"' in text


def test_many_faces_go_on_further_pages_that_link_to_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oodinv.reporting.pages.PAGE_FACES", 2)
    paths = write_pages(tmp_path, (panel(str(n), seed=n) for n in range(5)), 5, "t", {})
    assert [p.name for p in paths] == ["report.html", "report-2.html", "report-3.html"]
    counts = []
    for path in paths:
        page = Page(path.read_text())
        counts.append(page.tags.count("article"))
        links = [r for r in page.references if not r.startswith("data:")]
        assert links == [p.name for p in paths]
    assert counts == [2, 2, 1]


def test_a_page_of_400_faces_has_a_bounded_size(tmp_path: Path) -> None:
    one = panel("a")
    smooth = Panel("a", *(np.full((64, 64, 3), v, np.uint8) for v in (90, 120)), one.mask * 0, one.flow)
    (path,) = write_pages(tmp_path, (smooth for _ in range(400)), 400, "t", {})
    assert Page(path.read_text()).tags.count("article") == 400
    assert path.stat().st_size < 40_000_000


def test_the_flow_wheel_has_the_published_corners() -> None:
    wheel = colour_wheel()
    assert wheel.shape == (55, 3)
    corners = {
        0: (255, 0, 0),
        15: (255, 255, 0),
        21: (0, 255, 0),
        25: (0, 255, 255),
        36: (0, 0, 255),
        49: (255, 0, 255),
    }
    for index, colour in corners.items():
        np.testing.assert_array_equal(wheel[index], colour)


def test_flow_colours_tell_directions_apart() -> None:
    right, left, none = (flow_colours(np.array([[[x]], [[0.0]]]), largest=1.0)[0, 0].astype(int) for x in (1, -1, 0))
    np.testing.assert_array_equal(none, 255)
    np.testing.assert_array_equal(right, (255, 0, 0))  # Middlebury: to the right is red
    assert left[0] < 60
    assert left[2] > 200


def test_the_difference_is_grey_where_nothing_changed() -> None:
    p = panel("a")
    assert (difference(Panel("a", p.before, p.before, p.mask, None)) == 128).all()


@pytest.mark.parametrize("count", [1, 7, 40])
def test_a_sheet_has_room_for_every_face(count: int) -> None:
    sheet = contact_sheet([panel(str(n), size=16, seed=n) for n in range(count)])
    assert sheet.shape[2] == 3
    assert sheet.shape[0] * sheet.shape[1] >= count * 5 * 256 * 256
    titles, names = sheet[:20], sheet[20:40]
    assert all((titles[:, left : left + 100] < 128).any() for left in range(0, 5 * 256, 256))
    assert (names[:, :100] < 128).any()


def test_sheets_and_strips_have_the_documented_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oodinv.reporting.sheets.SHEET_FACES", 3)
    paths = write_sheets(tmp_path, (panel(str(n), seed=n) for n in range(4)), packet(Provenance()))
    assert [p.name for p in paths] == ["contact-sheet.png", "contact-sheet-2.png"]
    pixels = panel("a", size=128).before
    joined = strip([("photo", pixels), ("+1", pixels[::-1].copy())])
    np.testing.assert_array_equal(joined[-128:, :128], pixels)
    np.testing.assert_array_equal(joined[-128:, 128:], pixels[::-1])


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_photo_says_how_it_was_made_and_keeps_what_it_said(suffix: str, tmp_path: Path) -> None:
    made = Provenance("compositeWithTrainedAlgorithmicMedia", "mini", "older: age +1")
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    source = tmp_path / f"in{suffix}"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(source, exif=exif.tobytes())
    photo = read_photo(source)
    stamped = Photo(photo.pixels, exif=photo.exif, xmp=packet(made, OWN_PACKET), format=photo.format)
    write_photo(tmp_path / f"out{suffix}", stamped)
    with Image.open(tmp_path / f"out{suffix}") as again:
        xmp, make = again.info["xmp"], again.getexif()[0x010F]
    assert make == "Camera"
    said = description(xmp)
    assert said[IPTC] == TYPES + "compositeWithTrainedAlgorithmicMedia"
    assert said["{urn:oodinv:1.0/}Model"] == "mini"
    assert said["{urn:oodinv:1.0/}Recipe"] == "older: age +1"
    assert said["{urn:oodinv:1.0/}Tool"].startswith("oodinv ")
    assert said["{http://odd/}key"] == "kept"
    assert said["{http://ns.adobe.com/xap/1.0/}CreatorTool"] == "Camera"
    assert b"old" not in xmp.replace(b"older", b"")
    assert [li.text for li in ET.fromstring(xmp).iter(f"{{{RDF}}}li")] == ["Ann & Bo"]
    assert read_photo(tmp_path / f"out{suffix}").xmp == xmp


@pytest.mark.parametrize(
    "existing",
    [b"", b"no xml", b"<a/>", b'<!DOCTYPE a [<!ENTITY b "cccc">]><a>&b;</a>', b"\xff\xfe\x00", OWN_PACKET[:100]],
)
def test_odd_packets_are_replaced(existing: bytes) -> None:
    made = Provenance("trainedAlgorithmicMedia", "mini")
    assert packet(made, existing) == packet(made)
    assert description(packet(made))[IPTC] == TYPES + "trainedAlgorithmicMedia"


def test_a_packet_too_long_for_its_file_gives_way_to_ours() -> None:
    long = OWN_PACKET.replace(b"Ann", b"A" * 70_000)
    made = Provenance("trainedAlgorithmicMedia", "mini")
    assert packet(made, long, JPEG_XMP_BYTES) == packet(made)
    assert len(packet(made, long)) > 70_000
    assert packet(made, packet(made)).count(b"DigitalSourceType") == 1


def test_a_crop_claims_no_source() -> None:
    assert IPTC not in description(packet(Provenance()))


def test_sheets_hold_no_large_pictures_in_memory(tmp_path: Path) -> None:
    """Sixteen faces of 2048 px have 470 MB, at the sheet's size 8."""
    tracemalloc.start()
    try:
        write_sheets(tmp_path, (panel(str(n), size=2048) for n in range(16)), packet(Provenance()))
        assert tracemalloc.get_traced_memory()[1] < 150e6
    finally:
        tracemalloc.stop()


def test_a_panel_made_smaller_shows_the_same() -> None:
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(0, 255, (3, 32, 32), dtype=np.uint8), np.ones((1, 16, 16), np.uint8))
    large = Panel("n", *(np.repeat(p[..., None], 3, axis=2) for p in coarse[:2]), coarse[2], None)
    for wanted, found in zip(large.pictures(64), large.at_most(128).pictures(64), strict=True):
        np.testing.assert_allclose(found.astype(int), wanted, atol=LEVEL)
    assert large.at_most(512) is large
