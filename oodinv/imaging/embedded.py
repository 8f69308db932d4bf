"""Finds pictures inside metadata, as bytes and as text: thumbnails and previews, which show the unedited photo."""

import re

_JPEG = re.compile(rb"\xd8\xff[\xc0\xc4\xdb\xe0-\xef\xfe]")  # some cameras alter the byte before, which is 0xFF
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB\x60\x82"
_WEBP = re.compile(rb"RIFF....WEBP", re.DOTALL)
_BASE64 = re.compile(rb"(?:/9j/|iVBORw0KGgo|UklGR)[A-Za-z0-9+/=_\r\n-]{256,}")  # first bytes of JPEG, PNG and WebP
_DIGITS = re.compile(rb"(?:ffd8ff|89504e470d0a1a0a|52494646)[0-9a-f\r\n]{512,}", re.IGNORECASE)  # in hexadecimal
_CODED = re.compile(r"[A-Za-z0-9+/=_-]{60}")
_SHORTEST = 1024  # characters: no thumbnail has fewer


def is_picture(text: str) -> bool:
    """True if a text holds a picture in base64 or hexadecimal digits: its first bytes, or many long lines of them."""
    if len(text) < _SHORTEST:
        return False
    joined = "".join(text.split()).encode(errors="replace")
    begun = _BASE64.search(joined) is not None or _DIGITS.search(joined) is not None
    return begun or sum(len(word) for word in text.split() if _CODED.search(word)) >= _SHORTEST


def holds_picture(body: bytes) -> bool:
    """True if bytes, such as a comment, hold a picture as it is or as text."""
    blanked = bytearray(body)
    blank_pictures(blanked)
    return blanked != body or is_picture(body.decode("latin-1"))


def blank_pictures(data: bytearray) -> None:
    """Overwrites every JPEG, PNG and WebP in the data, also in base64 or hexadecimal digits, with zeros."""
    position = 0
    while (match := _JPEG.search(data, position)) is not None:
        end = _jpeg_end(data, match.start() + 1)
        if end is None:
            position = match.end()
        else:
            _blank(data, match.start() - (match.start() > 0 and data[match.start() - 1] == 0xFF), end)
            position = end
    while (start := data.find(_PNG)) >= 0:
        end = data.find(_PNG_END, start)
        _blank(data, start, len(data) if end < 0 else end + len(_PNG_END))
    for match in list(_WEBP.finditer(data)):
        size = int.from_bytes(data[match.start() + 4 : match.start() + 8], "little")
        _blank(data, match.start(), max(match.end(), match.start() + 8 + size))
    for coded in (_BASE64, _DIGITS):
        for match in list(coded.finditer(data)):
            _blank(data, match.start(), match.end())


def _blank(data: bytearray, start: int, end: int) -> None:
    end = min(end, len(data))
    data[start:end] = bytes(end - start)


def _jpeg_end(data: bytearray, position: int) -> int | None:
    """End of the JPEG whose first segment starts here; None if it is not a JPEG.

    A truncated JPEG ends with the data.
    """
    segments = 0
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF or marker < 0xC0:
            return None if segments < 2 else position
        if marker == 0xD9:
            return position + 2
        if marker == 0xDA:
            found = data.find(b"\xff\xd9", position)
            return len(data) if found < 0 else found + 2
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        segments += 1
    return len(data) if segments > 0 else None
