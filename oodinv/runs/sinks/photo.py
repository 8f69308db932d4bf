"""Composites that are computed again, and photos with changed crops pasted in."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from oodinv.compositing.paste_back import Patch, paste
from oodinv.imaging.encode import AS_SOURCE, OutputFormat, write_photo, write_png
from oodinv.imaging.metadata import JPEG_XMP_BYTES
from oodinv.imaging.photo import Photo
from oodinv.imaging.pixels import Pixels
from oodinv.imaging.provenance import Provenance, composite_mark


def write_png_composite(folder: Path, name: str, pixels: Pixels, made: Provenance) -> str:
    """Writes one composite with its provenance and returns its path below the folder.

    Raises:
        ImageError, OutputError: the file can't be written.
    """
    output = f"composites/{name}.png"
    write_png(folder / output, pixels, composite_mark(made))
    return output


def write_pasted(
    photo: Photo, patches: list[Patch], folder: Path, name: str, made: Provenance, how: OutputFormat = AS_SOURCE
) -> str:
    """Pastes changed crops into their photo and writes it with its provenance; returns the path below folder.

    Raises:
        ImageError, OutputError: the file can't be written.
    """
    output = f"pasted/{name}{how.suffix(photo)}"
    write_photo(folder / output, pasted(photo, patches, made, how), how.quality)
    return output


def pasted(photo: Photo, patches: list[Patch], made: Provenance, how: OutputFormat = AS_SOURCE) -> Photo:
    """Returns the photo with changed crops pasted in and its provenance in the XMP packet."""
    limit = JPEG_XMP_BYTES if how.suffix(photo) == ".jpg" else None
    return replace(_changed(photo, patches), xmp=composite_mark(made, photo.xmp, limit))


def _changed(photo: Photo, patches: list[Patch]) -> Photo:
    """Pastes the patches into the photo at the bit depth that will be written."""
    if photo.deep is None:
        return replace(photo, pixels=paste(photo.pixels, patches))
    return replace(photo, deep=np.dstack([paste(photo.deep[..., :3], patches), photo.deep[..., 3:]]))
