"""Adapts EXIF blocks to the written picture: upright, of its size, without thumbnails.

Blocks are changed in place, because the offsets in maker notes are relative to their start.
Sources: Exif 2.32 (JEITA CP-3451E); TIFF 6.0 for the layout of directories.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from oodinv.imaging.embedded import blank_pictures

PREFIX = b"Exif\0\0"
ORIENTATION = 0x0112
_EXIF_DIRECTORY = 0x8769
_WIDTHS = frozenset({0x0100, 0xA002})
_HEIGHTS = frozenset({0x0101, 0xA003})
_SUB_DIRECTORIES = 0x014A
_PICTURES = ((0x0201, 0x0202), (0x0111, 0x0117), (0x0144, 0x0145))
"""Fields with the places and the lengths of a picture: a JPEG, strips, tiles."""
_MOST_DIRECTORIES = 64  # of a block; files have up to five
# In the main directory: sub-pictures, XMP, Photoshop's blocks with a thumbnail, a profile; the file has its own.
_EMBEDDED = frozenset({_SUB_DIRECTORIES, 0x02BC, 0x8649, 0x8773, *(tag for pair in _PICTURES for tag in pair)})
_BYTE, _SHORT, _LONG = 1, 3, 4
_FORMS = {_BYTE: "B", _SHORT: "H", _LONG: "I"}


@dataclass(frozen=True)
class _Entry:
    """A field of a directory; offset is that of its 12 bytes."""

    tag: int
    kind: int
    count: int
    offset: int


class _Block:
    """A TIFF structure that is read and changed in place. Offsets outside it raise struct.error."""

    def __init__(self, content: bytes) -> None:
        self.endian = {b"II": "<", b"MM": ">"}[content[:2]]
        self.data = bytearray(content)

    def read(self, form: str, offset: int) -> int:
        (value,) = struct.unpack_from(self.endian + form, self.data, offset)
        return int(value)

    def write(self, form: str, offset: int, *values: int) -> None:
        struct.pack_into(self.endian + form, self.data, offset, *values)

    def entries(self, directory: int) -> list[_Entry]:
        """Fields of a directory that are within the block; a truncated directory has fewer than it states."""
        count = min(self.read("H", directory), (len(self.data) - directory - 2) // 12)
        places = (directory + 2 + 12 * n for n in range(count))
        return [_Entry(self.read("H", p), self.read("H", p + 2), self.read("I", p + 4), p) for p in places]

    def numbers(self, entry: _Entry) -> list[int]:
        """Values of a field of unsigned integers; empty for other types and outside the block."""
        form = _FORMS.get(entry.kind)
        if form is None:
            return []
        width = struct.calcsize("=" + form)
        if entry.count > len(self.data) // width:
            return []
        start = entry.offset + 8 if entry.count * width <= 4 else self.read("I", entry.offset + 8)
        if start + entry.count * width > len(self.data):
            return []
        return [self.read(form, start + width * n) for n in range(entry.count)]

    def set_number(self, entry: _Entry, value: int) -> None:
        """Makes a field a single integer."""
        if value > 0xFFFF:
            self.write("HII", entry.offset + 2, _LONG, 1, value)
        else:
            self.write("HIHH", entry.offset + 2, _SHORT, 1, value, 0)

    def blank(self, start: int, end: int) -> None:
        end = min(end, len(self.data))
        self.data[start:end] = bytes(max(0, end - start))

    def remove(self, directory: int, tags: frozenset[int]) -> None:
        """Removes fields from a directory; the remaining ones move up."""
        entries = self.entries(directory)
        kept = [bytes(self.data[e.offset : e.offset + 12]) for e in entries if e.tag not in tags]
        end = directory + 2 + 12 * len(entries)
        following = bytes(self.data[end : end + 4])
        body = b"".join(kept) + following
        self.write("H", directory, len(kept))
        self.data[directory + 2 : end + 4] = body + bytes(end + 4 - directory - 2 - len(body))


def clean(block: bytes, size: tuple[int, int]) -> bytes | None:
    """Adapts an EXIF block to upright pixels of this size (width, height): orientation 1, no thumbnail, no preview.

    Thumbnails and previews in maker notes show the unedited photo, so their bytes are overwritten with zeros. Returns
    None for an invalid block. The result starts with PREFIX.
    """
    try:
        found = _Block(block.removeprefix(PREFIX))
        main = found.read("I", 4)
        _drop_thumbnails(found, main)
        for directory in (main, *(found.numbers(e)[0] for e in found.entries(main) if _is_directory(found, e))):
            _state(found, directory, size)
        found.remove(main, _EMBEDDED)
    except (struct.error, KeyError):
        return None
    blank_pictures(found.data)
    return PREFIX + bytes(found.data)


def orientation_of(block: bytes) -> int | None:
    """Orientation 1 to 8 in the main directory of an EXIF block; None if it is missing."""
    try:
        found = _Block(block.removeprefix(PREFIX))
        values = [found.numbers(e) for e in found.entries(found.read("I", 4)) if e.tag == ORIENTATION]
    except (struct.error, KeyError):
        return None
    return next((value[0] for value in values if len(value) == 1 and 1 <= value[0] <= 8), None)


def _is_directory(block: _Block, entry: _Entry) -> bool:
    return entry.tag == _EXIF_DIRECTORY and len(block.numbers(entry)) == 1


def _state(block: _Block, directory: int, size: tuple[int, int]) -> None:
    """Sets orientation and size in a directory that has these fields."""
    for entry in block.entries(directory):
        if entry.tag == ORIENTATION:
            block.set_number(entry, 1)
        elif entry.tag in _WIDTHS:
            block.set_number(entry, size[0])
        elif entry.tag in _HEIGHTS:
            block.set_number(entry, size[1])


def _drop_thumbnails(block: _Block, main: int) -> None:
    """Overwrites the pictures of all directories, and the directories that are only about thumbnails."""
    directories = list(_directories(block, main))
    for directory, _ in directories:
        _blank_pictures(block, directory)
    for directory, kept in directories:
        count = len(block.entries(directory))
        if not kept:
            block.blank(directory, directory + 6 + 12 * count)
        elif directory == main and main + 6 + 12 * count <= len(block.data):
            block.write("I", main + 2 + 12 * count, 0)


def _directories(block: _Block, main: int) -> Iterator[tuple[int, bool]]:
    """Yields the place of each directory, and True for the main one and that of the camera's settings."""
    waiting, seen = [(main, True, True)], set[int]()
    while waiting and len(seen) < _MOST_DIRECTORIES:
        place, kept, chained = waiting.pop()
        if place in seen or not 8 <= place < len(block.data) - 2:
            continue
        seen.add(place)
        entries = block.entries(place)
        yield place, kept
        for entry in entries:
            if entry.tag == _SUB_DIRECTORIES:
                waiting += [(start, False, True) for start in block.numbers(entry)]
            elif entry.tag == _EXIF_DIRECTORY:
                waiting += [(start, True, False) for start in block.numbers(entry)]
        end = place + 2 + 12 * len(entries)
        if chained and end + 4 <= len(block.data):
            waiting.append((block.read("I", end), False, True))


def _blank_pictures(block: _Block, directory: int) -> None:
    """Overwrites the pictures of a directory, JPEG or uncompressed."""
    fields = {entry.tag: block.numbers(entry) for entry in block.entries(directory)}
    for starts, lengths in _PICTURES:
        for start, length in zip(fields.get(starts, []), fields.get(lengths, []), strict=False):
            if start >= 8:
                block.blank(start, start + length)
