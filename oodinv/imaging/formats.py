"""Formats of picture files: what can be read, and what is known by its suffix and can't be."""

from pathlib import Path
from typing import Literal

import pillow_heif

pillow_heif.register_heif_opener()

READ = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "HEIF")
"""Formats that are read, by Pillow's names."""
ANIMATED = frozenset({"PNG", "WEBP", "GIF", "TIFF", "AVIF"})
"""Those that may hold several pictures of equal rank. Further pictures of a JPEG or HEIC are previews and the like."""
LOSSY = frozenset({"JPEG", "MPO", "HEIF", "AVIF"})
"""Formats whose pixels went through lossy compression; WebP may or may not."""

_READABLE = (
    ".jpg .jpeg .jpe .jfif .png .apng .webp .tif .tiff .bmp .gif .avif .jp2 .ppm .pgm .pbm .mpo "
    ".heic .heif .hif .heics .heifs"
)
_RAW = (
    ".3fr .ari .arw .bay .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef "
    ".ptx .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f "
)
_OTHER_PICTURES = (
    ".ai .cdr .dds .emf .eps .exr .fits .hdr .icns .ico .indd .j2c .j2k .jxl .jxr .kra .pcx .pfm .psb .psd .qoi .svg "
    ".tga .wdp .wmf .xcf "
)
_FILMS = ".3g2 .3gp .avi .flv .insv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .webm .wmv "
READABLE_SUFFIXES = frozenset(_READABLE.split())
UNSUPPORTED_SUFFIXES = frozenset(f"{_RAW}{_OTHER_PICTURES}{_FILMS}.pdf".split())
"""Pictures, films and documents that a folder of photos may hold and that can't be read."""

SuffixKind = Literal["readable", "unsupported", "other"]


def suffix_kind(path: Path) -> SuffixKind:
    """What a file's suffix, in any letter case, says of it.

    readable: a picture that can be read, if it is what it says. unsupported: a picture, film or document that a user
    may expect to be worked on, and that isn't. other: anything else, such as sidecars and text.
    """
    suffix = path.suffix.lower()
    if suffix in READABLE_SUFFIXES:
        return "readable"
    return "unsupported" if suffix in UNSUPPORTED_SUFFIXES else "other"
