"""Facts that a file states in several places: after reading and writing, all of them agree with the picture."""

import base64
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
from PIL import Image, PngImagePlugin

from oodinv.imaging import exif, xmp
from oodinv.imaging.decode import decode_photo, read_photo
from oodinv.imaging.encode import write_photo
from oodinv.imaging.metadata import upright

ORIENTATION = 0x0112
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
"""64 by 96, each corner different, in blocks that a JPEG keeps apart."""


def packet(properties: str = "", children: str = "") -> bytes:
    """An XMP packet with these attributes and elements of its description."""
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/" '
        'xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/" '
        f"{properties}>{children}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
    ).encode()


def exif_block(orientation: int | None = None, thumbnail: bytes | None = None, maker_note: bytes = b"") -> bytes:
    """An EXIF block in little-endian order with a camera, its settings, and a thumbnail in its second directory."""
    settings = [(0xA002, 4, 1, 96), (0xA003, 4, 1, 64)]
    main = [(0x010F, 2, 4, int.from_bytes(b"Cam\0", "little"))]
    if orientation is not None:
        main.append((ORIENTATION, 3, 1, orientation))
    length = 8 + 2 + 12 * (len(main) + 1) + 4
    second = length + 2 + 12 * (len(settings) + 1) + 4
    picture = second + 2 + 12 * 2 + 4 if thumbnail is not None else second
    note = picture + len(thumbnail or b"")
    main.append((0x8769, 4, 1, length))
    settings.append((0x927C, 7, max(5, len(maker_note)), note))
    parts = [(main, second if thumbnail is not None else 0), (settings, 0)]
    if thumbnail is not None:
        parts.append(([(0x0201, 4, 1, picture), (0x0202, 4, 1, len(thumbnail))], 0))
    block = b"II*\0\x08\0\0\0"
    for entries, following in parts:
        block += struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in sorted(entries))
        block += struct.pack("<I", following)
    return b"Exif\0\0" + block + (thumbnail or b"") + maker_note.ljust(5, b"\0")


def jpeg_of(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0, **options)
    return file.getvalue()


def png_of(pixels: np.ndarray, packet: bytes | None = None, **options: object) -> bytes:
    file, info = io.BytesIO(), PngImagePlugin.PngInfo()
    if packet is not None:
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
    Image.fromarray(pixels).save(file, "PNG", pnginfo=info, **options)
    return file.getvalue()


def stored(orientation: int) -> np.ndarray:
    """PIXELS as they are stored by a camera that says this orientation: the inverse of turning them upright."""
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    return upright(PIXELS, inverse)


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
PACKETS = {"attribute": ATTRIBUTE, "element": ELEMENT, "other prefix": OTHER_PREFIX, "rdf:value": QUALIFIED}


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


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_no_picture_survives_in_exif(suffix: str, tmp_path: Path) -> None:
    secret = jpeg_of(np.full((40, 40, 3), 200, np.uint8))
    preview = b"\x01" + jpeg_of(np.full((56, 40, 3), 90, np.uint8))[1:]  # a camera alters the first byte
    note = b"MAKER" + secret + b"middle" + preview + b"end"
    photo = decode_photo(jpeg_of(PIXELS, exif=exif_block(1, secret, note)), Path("in"))
    assert photo.exif is not None
    write_photo(tmp_path / f"out{suffix}", photo)
    content = (tmp_path / f"out{suffix}").read_bytes()
    assert secret[20:] not in content
    assert preview[20:] not in content
    for word in (b"MAKER", b"middle", b"end", b"Cam\0"):
        assert word in photo.exif
    kept = Image.Exif()
    kept.load(photo.exif)
    assert kept.get_ifd(1) == {}
    assert kept.get_ifd(0x8769)[0x927C].startswith(b"MAKER")


def encoded(pixels: np.ndarray, form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


SECRET = np.random.default_rng(3).integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("as_text", [False, True])
def test_no_picture_of_any_format_survives_in_a_maker_note(form: str, as_text: bool) -> None:
    secret = encoded(SECRET, form)
    held = base64.b64encode(secret) if as_text else secret
    cleaned = exif.clean(exif_block(1, maker_note=b"MAKER" + held + b" the end"), (96, 64))
    assert cleaned is not None
    assert held[30:60] not in cleaned
    assert held[-90:-30] not in cleaned
    assert b"MAKER" in cleaned
    assert b" the end" in cleaned


@pytest.mark.parametrize("start", ["", "data:image/png;base64,"])
@pytest.mark.parametrize("digits", [base64.b64encode, base64.encodebytes, lambda content: content.hex().encode()])
def test_a_picture_in_text_of_a_png_is_not_written_again(digits: Callable[[bytes], bytes], start: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("preview", start + digits(encoded(SECRET, "PNG")).decode(), zip=True)
    info.add_text("Description", "A portrait, described at length. " * 60)
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG", pnginfo=info)
    photo = decode_photo(file.getvalue(), Path("in"))
    assert list(photo.texts) == ["Description"]


def test_a_comment_with_a_picture_is_not_written_again() -> None:
    secret = encoded(SECRET, "JPEG")
    for comment in (secret, b"thumbnail:" + base64.b64encode(secret)):
        assert decode_photo(jpeg_of(PIXELS, comment=comment), Path("in")).comments == ()


@pytest.mark.parametrize("header", [b"JFXX\0\x10", b"JFIF\0\1\2\0\0\1\0\1\x28\x1e"])
def test_no_thumbnail_of_jfif_is_written_again(header: bytes, tmp_path: Path) -> None:
    body = header + (encoded(SECRET, "JPEG") if header.startswith(b"JFXX") else SECRET.tobytes())
    content = jpeg_of(PIXELS)
    content = content[:2] + b"\xff\xe0" + struct.pack(">H", len(body) + 2) + body + content[2:]
    write_photo(tmp_path / "out.jpg", decode_photo(content, Path("in")))
    assert body[-90:-30] not in (tmp_path / "out.jpg").read_bytes()


def test_no_preview_of_photoshop_is_written_again(tmp_path: Path) -> None:
    secret = encoded(SECRET, "JPEG")
    resource = b"8BIM\x04\x0c\0\0" + struct.pack(">I", 28 + len(secret)) + bytes(28) + secret
    content = jpeg_of(PIXELS)
    body = b"Photoshop 3.0\0" + resource
    content = content[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + content[2:]
    write_photo(tmp_path / "out.jpg", decode_photo(content, Path("in")))
    assert secret[-90:-30] not in (tmp_path / "out.jpg").read_bytes()


def test_a_plain_thumbnail_is_blanked_too() -> None:
    plain = bytes(range(1, 200))
    block = exif_block(1, plain).replace(struct.pack("<HHI", 0x0201, 4, 1), struct.pack("<HHI", 0x0111, 4, 1))
    block = block.replace(struct.pack("<HHI", 0x0202, 4, 1), struct.pack("<HHI", 0x0117, 4, 1))
    cleaned = exif.clean(block, (96, 64))
    assert cleaned is not None
    assert plain[:50] not in cleaned
    assert len(cleaned) == len(block)


def test_sizes_follow_a_turned_picture() -> None:
    photo = decode_photo(jpeg_of(stored(6), exif=exif_block(6)), Path("in"))
    kept = Image.Exif()
    kept.load(photo.exif or b"")
    assert (kept.get_ifd(0x8769)[0xA002], kept.get_ifd(0x8769)[0xA003]) == (96, 64)


PREVIEW = "QUJD" * 400


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (packet('dc:format="image/jpeg"'), True),
        (packet('GDepth:Data="AAAA"'), False),
        (packet(f'dc:source="{PREVIEW}"'), False),
        (packet(f'dc:source="data:image/jpeg;base64,{PREVIEW}"'), False),
        (packet(f'dc:source="{PREVIEW.replace("A", "-")}"'), False),
        (packet(children=f"<dc:source>{PREVIEW[:900]}\n{PREVIEW[900:]}</dc:source>"), False),
        (packet(children="<xmp:Thumbnails><rdf:Alt><rdf:li>x</rdf:li></rdf:Alt></xmp:Thumbnails>"), False),
        (packet(children=f"<dc:rights><rdf:Bag><rdf:li>{PREVIEW}</rdf:li></rdf:Bag></dc:rights>"), False),
        (packet(children="<dc:title>" + "a long title, in words. " * 200 + "</dc:title>"), True),
        (packet('exif:PixelXDimension="96"'), False),
    ],
)
def test_xmp_keeps_words_and_loses_pictures(said: bytes, kept: bool) -> None:
    cleaned = xmp.clean(said, turned=False)
    assert cleaned is not None
    assert (cleaned == said) == kept
    assert xmp.rdf_of(cleaned) is not None
    assert PREVIEW[:200].encode() not in cleaned.replace(b"-", b"A")


def test_regions_of_a_turned_picture_are_dropped() -> None:
    said = packet(children="<mwg-rs:Regions><rdf:Bag/></mwg-rs:Regions><dc:title>kept</dc:title>")
    assert xmp.clean(said, turned=False) == said
    cleaned = xmp.clean(said, turned=True) or b""
    assert b"Regions" not in cleaned.replace(b"schemas/regions", b"")
    assert b"kept" in cleaned


@pytest.mark.parametrize("said", [b"", b"words", b"<a></b>", b'<!DOCTYPE x [<!ENTITY e "e">]><x>&e;</x>', b"\xff\xfe"])
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


def test_parts_after_the_photo_are_not_written(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "MPO", save_all=True, append_images=[Image.fromarray(PIXELS[::-1])])
    photo = decode_photo(file.getvalue() + b"MotionPhoto_Data", Path("in"))
    assert photo.suffix == ".jpg"
    write_photo(tmp_path / "out.jpg", photo)
    content = (tmp_path / "out.jpg").read_bytes()
    assert b"MPF" not in content
    assert content.count(b"\xff\xd8\xff") == 1
    assert content.endswith(b"\xff\xd9")
