"""JPEG and PNG files with metadata as cameras and programs write it, made here."""

import io
import struct

import numpy as np
from PIL import Image, PngImagePlugin

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


def encoded(pixels: np.ndarray, form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()
