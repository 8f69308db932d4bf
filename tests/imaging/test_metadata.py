"""Facts that a file states in several places: after reading and writing, all of them agree with the picture."""

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from photo_files import ORIENTATION, PIXELS, exif_block, jpeg_of, packet, png_of, stored
from PIL import Image, PngImagePlugin

from oodinv.imaging import exif, xmp
from oodinv.imaging.decode import decode_photo, read_photo
from oodinv.imaging.encode import write_photo


def displayed(path: Path) -> np.ndarray:
    """A written file as the pickiest viewer shows it, which must find no orientation but 1 anywhere."""
    content = path.read_bytes()
    assert b"tiff:Orientation" not in content
    assert b"Orientation>" not in content
    with Image.open(path) as picture:
        picture.load()
        assert picture.getexif().get(ORIENTATION, 1) == 1
        assert exif.orientation_of(picture.info.get("exif", b"")) in (None, 1)
        return np.asarray(picture.convert("RGB"))


ATTRIBUTE: Callable[[int], bytes] = lambda n: packet(f'tiff:Orientation="{n}"')  # noqa: E731
ELEMENT: Callable[[int], bytes] = lambda n: packet(children=f"<tiff:Orientation> {n}\n</tiff:Orientation>")  # noqa: E731
OTHER_PREFIX: Callable[[int], bytes] = lambda n: ATTRIBUTE(n).replace(b"tiff:", b"t:").replace(b":tiff=", b":t=")  # noqa: E731
QUALIFIED: Callable[[int], bytes] = lambda n: packet(  # noqa: E731
    children=f'<tiff:Orientation rdf:parseType="Resource"><rdf:value>{n}</rdf:value></tiff:Orientation>'
)
ZERO_FIRST: Callable[[int], bytes] = lambda n: packet(f'tiff:Orientation=" 0{n} "')  # noqa: E731
CDATA: Callable[[int], bytes] = lambda n: packet(children=f"<tiff:Orientation><![CDATA[+{n}]]></tiff:Orientation>")  # noqa: E731
PACKETS = {
    "attribute": ATTRIBUTE,
    "element": ELEMENT,
    "other prefix": OTHER_PREFIX,
    "rdf:value": QUALIFIED,
    "zero first": ZERO_FIRST,
    "CDATA": CDATA,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", PACKETS)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_orientation_in_xmp_alone_turns_pixels_and_is_gone(
    suffix: str, kind: str, orientation: int, tmp_path: Path
) -> None:
    said = PACKETS[kind](orientation)
    pixels = stored(orientation)
    content = png_of(pixels, said) if suffix == ".png" else jpeg_of(pixels, xmp=said)
    write_photo(tmp_path / f"out{suffix}", decode_photo(content, Path("in")))
    shown = displayed(tmp_path / f"out{suffix}")
    assert shown.shape == PIXELS.shape
    assert np.abs(shown.astype(int) - PIXELS).mean() < 3


def jpeg_segment(body: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


@pytest.mark.parametrize("length", [5000, 150])
def test_orientation_in_the_extension_of_a_packet_turns_pixels(length: int, tmp_path: Path) -> None:
    extension = ATTRIBUTE(6)
    digest = hashlib.md5(extension).hexdigest().upper()
    note = f'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="{digest}" dc:format="image/jpeg"'
    parts = [
        b"http://ns.adobe.com/xmp/extension/\0"
        + digest.encode()
        + struct.pack(">II", len(extension), start)
        + extension[start : start + length]
        for start in range(0, len(extension), length)
    ]
    content = jpeg_of(stored(6), xmp=packet(note))
    plain = content[:2] + b"".join(map(jpeg_segment, reversed(parts))) + content[2:]
    write_photo(tmp_path / "out.jpg", decode_photo(plain, Path("in")))
    assert np.abs(displayed(tmp_path / "out.jpg").astype(int) - PIXELS).mean() < 3
    assert b"HasExtendedXMP" not in (tmp_path / "out.jpg").read_bytes()
    foreign = plain.replace(b"xmp/extension/\0" + digest.encode(), b"xmp/extension/\0" + 32 * b"0")
    assert decode_photo(foreign, Path("in")).orientation == 1


@pytest.mark.parametrize("name", ["xmp", "APP1"])
def test_xmp_in_text_of_a_png_is_heeded_and_not_written_again(name: str, tmp_path: Path) -> None:
    block = (b"http://ns.adobe.com/xap/1.0/\0" if name == "APP1" else b"") + ATTRIBUTE(6)
    info = PngImagePlugin.PngInfo()
    info.add_text(f"Raw profile type {name}", f"\n{name}\n{len(block):8}\n{block.hex()}\n", zip=True)
    file = io.BytesIO()
    Image.fromarray(stored(6)).save(file, "PNG", pnginfo=info)
    write_photo(tmp_path / "out.png", decode_photo(file.getvalue(), Path("in")))
    np.testing.assert_array_equal(displayed(tmp_path / "out.png"), PIXELS)
    assert b"Raw profile" not in (tmp_path / "out.png").read_bytes()


def test_exif_of_a_png_with_the_prefix_of_a_jpeg_is_heeded(tmp_path: Path) -> None:
    from oodinv.imaging.png import with_chunks

    photo = decode_photo(with_chunks(png_of(stored(6)), [(b"eXIf", exif_block(6))]), Path("in"))
    write_photo(tmp_path / "out.png", photo)
    np.testing.assert_array_equal(displayed(tmp_path / "out.png"), PIXELS)
    assert photo.exif is not None
    assert photo.exif.count(b"Exif\0\0") == 1


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_exif_goes_before_xmp_and_nothing_contradicts_it(suffix: str, tmp_path: Path) -> None:
    for said, pixels in ((1, PIXELS), (8, stored(8))):
        block = exif_block(said)
        made = (
            png_of(pixels, ATTRIBUTE(6), exif=block)
            if suffix == ".png"
            else jpeg_of(pixels, xmp=ATTRIBUTE(6), exif=block)
        )
        write_photo(tmp_path / f"out{suffix}", decode_photo(made, Path("in")))
        assert np.abs(displayed(tmp_path / f"out{suffix}").astype(int) - PIXELS).mean() < 3


def test_an_orientation_that_is_none_leaves_the_word_to_xmp() -> None:
    photo = decode_photo(jpeg_of(stored(6), exif=exif_block(0), xmp=ATTRIBUTE(6)), Path("in"))
    assert photo.pixels.shape == PIXELS.shape


@pytest.mark.parametrize("kind", [1, 3, 4], ids=["byte", "short", "long"])
def test_orientation_is_read_from_any_unsigned_integer(kind: int, tmp_path: Path) -> None:
    field = struct.pack("<HHI", ORIENTATION, kind, 1) + b"\6\0\0\0"
    block = exif.PREFIX + b"II*\0" + struct.pack("<IH", 8, 1) + field + bytes(4)
    write_photo(tmp_path / "out.jpg", decode_photo(jpeg_of(stored(6), exif=block), Path("in")))
    assert np.abs(displayed(tmp_path / "out.jpg").astype(int) - PIXELS).mean() < 3


@pytest.mark.parametrize("name", ["Raw profile type exif", "Raw profile type APP1"])
def test_exif_in_text_of_a_png_is_heeded_and_not_written_again(name: str, tmp_path: Path) -> None:
    block = exif_block(6, thumbnail=jpeg_of(PIXELS))
    info = PngImagePlugin.PngInfo()
    info.add_text(name, f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=True)
    info.add_text("Title", "A portrait")
    info.add_text("Thumb::URI", "file:///home/someone/private.png")
    file = io.BytesIO()
    Image.fromarray(stored(6)).save(file, "PNG", pnginfo=info)
    photo = decode_photo(file.getvalue(), Path("in"))
    np.testing.assert_array_equal(photo.pixels, PIXELS)
    write_photo(tmp_path / "out.png", photo)
    with Image.open(tmp_path / "out.png") as written:
        written.load()
        assert written.text == {"Title": "A portrait"}
        assert written.getexif()[0x010F] == "Cam"


def test_texts_of_a_png_that_repeat_exif_are_not_written_again() -> None:
    """As older versions of ImageMagick write them."""
    info = PngImagePlugin.PngInfo()
    for key, text in {"exif:Orientation": "6", "tiff:Orientation": "6", "exif:PixelXDimension": "9"}.items():
        info.add_text(key, text)
    info.add_text("Author", "Someone")
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG", pnginfo=info)
    assert decode_photo(file.getvalue(), Path("in")).texts == {"Author": "Someone"}


@pytest.mark.parametrize("flaw", [b"a\x01b", b"caf\xe9"], ids=["control character", "not UTF-8"])
def test_a_flawed_packet_is_heeded_and_written_without_the_flaw(flaw: bytes, tmp_path: Path) -> None:
    said = packet('tiff:Orientation="6" dc:title="TITLE"').replace(b"TITLE", flaw)
    photo = decode_photo(jpeg_of(stored(6), xmp=said), Path("in"))
    write_photo(tmp_path / "out.jpg", photo)
    assert np.abs(displayed(tmp_path / "out.jpg").astype(int) - PIXELS).mean() < 3
    assert xmp.rdf_of(photo.xmp) is not None
    without = packet('dc:title="TITLE"').replace(b"TITLE", flaw)
    cleaned = xmp.clean(without, turned=False)
    assert cleaned is not None
    assert flaw not in cleaned


def test_captions_and_credits_of_a_jpeg_stay(tmp_path: Path) -> None:
    caption = b"\x1c\x02\x78\0\x09A caption"  # 2:120
    blocks = b"".join(
        b"8BIM" + code + b"\0\0" + struct.pack(">I", len(data)) + data + bytes(len(data) % 2)
        for code, data in ((b"\x04\x04", caption), (b"\x04\x0c", b"\0\0\0\1" + bytes(24) + jpeg_of(PIXELS)))
    )
    body, content = b"Photoshop 3.0\0" + blocks, jpeg_of(PIXELS)
    content = content[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + content[2:]
    write_photo(tmp_path / "out.jpg", decode_photo(content, Path("in")))
    with Image.open(tmp_path / "out.jpg") as written:
        assert written.info["photoshop"] == {0x0404: caption}


def test_sizes_follow_a_turned_picture() -> None:
    photo = decode_photo(jpeg_of(stored(6), exif=exif_block(6)), Path("in"))
    kept = Image.Exif()
    kept.load(photo.exif or b"")
    assert (kept.get_ifd(0x8769)[0xA002], kept.get_ifd(0x8769)[0xA003]) == (96, 64)


def test_regions_of_a_turned_picture_are_dropped() -> None:
    said = packet(children="<mwg-rs:Regions><rdf:Bag/></mwg-rs:Regions><dc:title>kept</dc:title>")
    assert xmp.clean(said, turned=False) == said
    cleaned = xmp.clean(said, turned=True) or b""
    assert b"Regions" not in cleaned.replace(b"schemas/regions", b"")
    assert b"kept" in cleaned


@pytest.mark.parametrize("coding", ["utf-16-le", "utf-16-be", "utf-16"])
def test_packets_in_utf_16_are_heeded_and_written_in_utf_8(coding: str, tmp_path: Path) -> None:
    said = packet('tiff:Orientation="6" dc:format="Größe"').decode()
    for suffix in (".png", ".jpg", ".webp"):
        photo = decode_photo(jpeg_of(stored(6), xmp=said.encode(coding)), Path("in"))
        write_photo(tmp_path / f"out{suffix}", photo)
        assert np.abs(displayed(tmp_path / f"out{suffix}").astype(int) - PIXELS).mean() < 3
        assert "Größe".encode() in (photo.xmp or b"")


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;"><!ENTITY c "&b;&b;&b;">]>'


@pytest.mark.parametrize("coding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "doctype", ["<!DOCTYPE x>", '<!DOCTYPE x [<!ENTITY c SYSTEM "file:///etc/hostname">]>', BOMB],
    ids=["empty", "file", "bomb"],
)  # fmt: skip
def test_a_packet_with_a_doctype_is_dropped_and_its_entities_are_not_read(doctype: str, coding: str) -> None:
    said = (
        doctype
        + packet('tiff:Orientation="6"', "" if doctype == "<!DOCTYPE x>" else "<dc:title>&c;</dc:title>").decode()
    )
    photo = decode_photo(jpeg_of(PIXELS, xmp=said.encode(coding)), Path("in"))
    assert photo.xmp is None
    assert photo.orientation == 1


@pytest.mark.parametrize("said", [b"", b"words", b"<a></b>", b"<x>&e;</x>", b"\xff\xfe", b"\xff\xfe<\0x"])
def test_xmp_that_cannot_be_read_is_dropped(said: bytes) -> None:
    assert xmp.clean(said, turned=False) is None
    assert xmp.orientation_of(said) is None


@given(st.binary(max_size=200), st.integers(0, 200), st.binary(max_size=12))
def test_damaged_exif_raises_nothing(tail: bytes, at: int, patch: bytes) -> None:
    block = bytearray(exif_block(6, b"\xff\xd8\xff\xdb12", b"\xff\xd8\xff\xe0\0\x04ab") + tail)
    block[at : at + len(patch)] = patch
    for damaged in (bytes(block), bytes(block[:at]), b"MM\0*" + tail):
        cleaned = exif.clean(damaged, (5, 4))
        assert cleaned is None or exif.orientation_of(cleaned) in (None, 1)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


SHOWN = {
    b"gAMA": struct.pack(">I", 100_000),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000),
    b"pHYs": struct.pack(">IIB", 5906, 11811, 1),
}


@pytest.mark.parametrize("bits", [8, 16])
def test_chunks_that_say_how_a_png_is_shown_come_through(bits: int, tmp_path: Path) -> None:
    from oodinv.imaging.png import pack_16, with_chunks

    plain = png_of(PIXELS) if bits == 8 else pack_16(PIXELS.astype(np.uint16) * 250)
    (tmp_path / "in.png").write_bytes(with_chunks(plain, list(SHOWN.items())))
    photo = read_photo(tmp_path / "in.png", deep=True)
    assert (photo.deep is not None) == (bits == 16)
    assert photo.chunks == SHOWN
    write_photo(tmp_path / "out.png", photo)
    content = (tmp_path / "out.png").read_bytes()
    for kind, body in SHOWN.items():
        assert content.count(chunk(kind, body)) == 1
    with Image.open(tmp_path / "out.png") as written:
        written.load()
        assert written.info["dpi"] == pytest.approx((150.0, 300.0), abs=0.1)


def test_resolution_of_turned_pixels_changes_places() -> None:
    from oodinv.imaging.png import with_chunks

    block = png_of(stored(6), exif=exif_block(6))
    content = with_chunks(block, list(SHOWN.items()))
    assert decode_photo(content, Path("in")).chunks[b"pHYs"] == struct.pack(">IIB", 11811, 5906, 1)


@pytest.mark.parametrize("suffix", [".jpg", ".tiff", ".png"])
def test_resolution_is_preserved(suffix: str, tmp_path: Path) -> None:
    write_photo(tmp_path / f"out{suffix}", decode_photo(jpeg_of(PIXELS, dpi=(240, 240)), Path("in")))
    with Image.open(tmp_path / f"out{suffix}") as written:
        assert [round(float(value)) for value in written.info["dpi"]] == [240, 240]


def test_a_tiff_without_a_resolution_gets_none() -> None:
    for said, expected in (({}, None), ({"dpi": (300, 200)}, (300.0, 200.0))):
        file = io.BytesIO()
        Image.fromarray(PIXELS).save(file, "TIFF", **said)
        assert decode_photo(file.getvalue(), Path("in")).dpi == expected


def test_comments_of_a_jpeg_come_through(tmp_path: Path) -> None:
    content = jpeg_of(PIXELS, comment=b"gr\xfc\xdfe", extra=b"\xff\xfe\0\x08second")
    photo = decode_photo(content, Path("in"))
    assert sorted(photo.comments) == [b"gr\xfc\xdfe", b"second"]
    write_photo(tmp_path / "out.jpg", photo)
    assert decode_photo((tmp_path / "out.jpg").read_bytes(), Path("out")).comments == photo.comments
    write_photo(tmp_path / "out.png", photo)
    with Image.open(tmp_path / "out.png") as written:
        written.load()
        assert "grüße" in written.text["Comment"]
    again = decode_photo((tmp_path / "out.png").read_bytes(), Path("out"))
    write_photo(tmp_path / "back.jpg", again)
    assert "grüße".encode() in b"".join(decode_photo((tmp_path / "back.jpg").read_bytes(), Path("b")).comments)
