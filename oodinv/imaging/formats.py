"""Formats of picture files: supported ones, and suffixes of unsupported ones."""

from pathlib import Path
from typing import Literal

import pillow_heif

pillow_heif.register_heif_opener()

READ = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "HEIF")
"""Formats that are read, by Pillow's names."""
ANIMATED = frozenset({"PNG", "WEBP", "GIF", "TIFF", "AVIF", "HEIF"})
"""Formats with frames, pages or several pictures. Further pictures of a JPEG are previews, depth maps, etc."""
LOSSY = frozenset({"JPEG", "MPO", "HEIF", "AVIF"})
"""Formats whose pixels went through lossy compression; WebP may or may not."""

_READABLE = (
    ".jpg .jpeg .jpe .jfif .png .apng .webp .tif .tiff .bmp .gif .avif .jp2 .ppm .pgm .pbm .mpo "
    ".heic .heif .hif .heics .heifs"
)
READABLE_SUFFIXES = frozenset(_READABLE.split())
_PICTURES = (
    ".jxl .jxr .wdp .hdp .psd .psb .xcf .kra .ora .exr .hdr .tga .pcx .svg .eps .ai .cdr .indd .ico .icns .dds .pict "
    ".pct .sgi .wbmp .emf .wmf .fits .qoi .j2c .j2k .jxr "
    ".3fr .ari .arw .bay .cap .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .k25 .kdc .mdc .mef .mos .mrw .nef .nrw "
    ".orf .pef .ptx .pxn .r3d .raf .raw .rw2 .rwl .rwz .sr2 .srf .srw .x3f"
)
_VIDEOS = ".3g2 .3gp .avi .flv .insv .lrv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .vob .webm .wmv"
_DOCUMENTS = ".pdf .doc .docx .odt .ppt .pptx .odp .ps .djvu"
UNSUPPORTED_SUFFIXES = {
    **dict.fromkeys(_PICTURES.split(), "export it as JPEG, PNG or TIFF"),
    **dict.fromkeys(_VIDEOS.split(), "export frames of the video as pictures"),
    **dict.fromkeys(_DOCUMENTS.split(), "export the pictures in it"),
}
"""Suffixes of unsupported files that may show faces, each with advice."""

SuffixKind = Literal["readable", "unsupported", "other"]


def suffix_kind(path: Path) -> SuffixKind:
    """Classifies a file by its suffix, in any letter case.

    readable: a picture in a supported format. unsupported: a picture, film or document in another
    (`UNSUPPORTED_SUFFIXES`). other: anything else, such as sidecars.
    """
    suffix = path.suffix.lower()
    if suffix in READABLE_SUFFIXES:
        return "readable"
    return "unsupported" if suffix in UNSUPPORTED_SUFFIXES else "other"
