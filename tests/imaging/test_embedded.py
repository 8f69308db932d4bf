"""Pictures in metadata, which show the photo before it was edited: none survives reading and writing."""

import base64
import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from photo_files import PIXELS, encoded, exif_block, jpeg_of, packet
from PIL import Image, PngImagePlugin

from oodinv.imaging import exif, xmp
from oodinv.imaging.decode import decode_photo
from oodinv.imaging.encode import write_photo

SECRET = np.random.default_rng(3).integers(0, 256, (30, 40, 3), dtype=np.uint8)
PREVIEW = "QUJD" * 400


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


def directory(fields: list[tuple[int, int, int, int]], following: int = 0) -> bytes:
    packed = b"".join(struct.pack("<HHII", *field) for field in fields)
    return struct.pack("<H", len(fields)) + packed + struct.pack("<I", following)


RAW = bytes(range(1, 200))
STRIPS, TILES = ((0x0111, 0x0117), (0x0144, 0x0145))


@pytest.mark.parametrize("tags", [STRIPS, TILES], ids=["strips", "tiles"])
@pytest.mark.parametrize("place", ["before", "third", "sub", "settings"])
def test_no_plain_picture_of_any_directory_is_left_in_exif(place: str, tags: tuple[int, int]) -> None:
    """In a second directory before the first, a third, a sub-directory, and that of the camera's settings."""
    picture, camera = 200, (0x010F, 2, 4, int.from_bytes(b"Cam\0", "little"))
    shown = directory([(tags[0], 4, 1, picture), (tags[1], 4, 1, len(RAW))])
    main, other, last = (60 if place == "before" else 8), (8 if place == "before" else 60), 130
    pointer = {"sub": 0x014A, "settings": 0x8769}.get(place)
    fields = [camera] if pointer is None else [camera, (pointer, 4, 1, other)]
    block = bytearray(picture) + RAW
    block[:8] = b"II*\0" + struct.pack("<I", main)
    parts = {main: directory(fields, other if pointer is None else 0), other: shown}
    if place == "third":
        parts |= {other: directory([camera], last), last: shown}
    for start, part in parts.items():
        block[start : start + len(part)] = part
    cleaned = exif.clean(exif.PREFIX + bytes(block), (96, 64))
    assert cleaned is not None
    assert RAW[:50] not in cleaned
    kept = Image.Exif()
    kept.load(cleaned)
    assert kept[0x010F] == "Cam"


def test_pictures_in_digits_are_found_in_comments_of_exif() -> None:
    coded = encoded(SECRET, "JPEG").hex().encode()
    cleaned = exif.clean(exif_block(1, maker_note=b"MAKER" + coded + b" the end"), (96, 64))
    assert cleaned is not None
    assert coded[100:160] not in cleaned
    assert b" the end" in cleaned


def test_pictures_in_short_lines_and_after_elements_are_taken_out_of_xmp() -> None:
    coded = base64.b64encode(encoded(SECRET, "JPEG")).decode()
    lines = "\n".join(coded[n : n + 40] for n in range(0, len(coded), 40))
    for said in (f"<dc:source>{lines}</dc:source>", f"<dc:source>kept</dc:source>{coded}"):
        cleaned = xmp.clean(packet(children=said), turned=False)
        assert cleaned is not None
        assert coded[:40].encode() not in cleaned


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
