"""Reads and writes chunks of PNG files, and pictures of 16 bits per channel.

Source: PNG specification, third edition.
"""

import struct
import zlib
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEYWORD = "XML:com.adobe.xmp"
SHOWN_BY = (b"cICP", b"mDCV", b"cLLI", b"gAMA", b"cHRM", b"sRGB", b"pHYs")
"""Chunks about the display of pixels, in an order in which they may be written."""
_LONGEST = 1 << 10  # bytes; none of them has more than 32
_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # colour type by number of channels
_BAND = 256  # rows packed at a time


def read_chunks(file: BinaryIO) -> dict[bytes, bytes]:
    """The chunks in SHOWN_BY of a PNG, by name; moves the file's position."""
    found: dict[bytes, bytes] = {}
    file.seek(0)
    if file.read(8) != SIGNATURE:
        return {}
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in (b"IDAT", b"IEND"):
            break
        if kind not in SHOWN_BY or length > _LONGEST:
            file.seek(length + 4, 1)
            continue
        found[kind] = file.read(length)
        file.seek(4, 1)  # Pillow refuses files with wrong checksums
    return found


def is_grey(file: BinaryIO) -> bool:
    """True if a PNG has one colour channel; Pillow reads grey and transparency of 16 bits as RGBA."""
    file.seek(25)
    return file.read(1) in (b"\0", b"\4")


def turned(chunks: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The chunks for a picture whose rows became columns: its pixels' width and height change places."""
    size = chunks.get(b"pHYs", b"")
    return {**chunks, b"pHYs": size[4:8] + size[:4] + size[8:]} if len(size) == 9 else dict(chunks)


def with_chunks(png: bytes, chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Inserts chunks (name, body) after the header of a PNG, or after its signature if there is no header yet."""
    end_of_header = len(SIGNATURE) + 25
    added = b"".join(struct.pack(">I", len(body)) + kind + body + _check(kind, body) for kind, body in chunks)
    return png[:end_of_header] + added + png[end_of_header:]


def text_chunk(keyword: str, text: str) -> tuple[bytes, bytes]:
    """Builds a tEXt chunk, or iTXt for text outside Latin-1."""
    try:
        return b"tEXt", keyword.encode("latin-1") + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", keyword.encode("latin-1", "replace") + b"\0\0\0\0\0" + text.encode(errors="replace")


def xmp_chunk(packet: bytes) -> tuple[bytes, bytes]:
    """An iTXt chunk with an XMP packet."""
    return b"iTXt", XMP_KEYWORD.encode() + b"\0\0\0\0\0" + packet


def pack_16(values: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits per channel, values (H, W, C): grey, grey and transparency, RGB, or RGB and transparency.

    Pillow writes none, OpenCV none of two channels. Rows are differences to the pixel on the left (filter 1).
    """
    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _TYPES[channels], 0, 0, 0)
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE)
    packed = [packer.compress(_filtered(values[top : top + _BAND])) for top in range(0, height, _BAND)]
    data = b"".join([*packed, packer.flush()])
    return with_chunks(SIGNATURE, [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")])


def _filtered(rows: NDArray[np.uint16]) -> bytes:
    count, width, channels = rows.shape
    plain = rows.astype(">u2").reshape(count, width * channels).view(np.uint8)
    step = 2 * channels
    filtered = np.empty((count, 1 + plain.shape[1]), np.uint8)
    filtered[:, 0] = 1
    filtered[:, 1 : 1 + step] = plain[:, :step]
    filtered[:, 1 + step :] = plain[:, step:] - plain[:, :-step]
    return filtered.tobytes()


def _check(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(kind + body))
