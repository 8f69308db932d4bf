"""The pictures that leave the program for people: composites, and photos with their faces put back."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from oodinv.compositing.paste_back import Edit, paste
from oodinv.imaging.encode import write_photo, write_png
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


def write_pasted(photo: Photo, edits: list[Edit], folder: Path, name: str, made: Provenance) -> str:
    """Puts changed crops back into their photo and writes it with its provenance; returns the path below folder.

    Raises:
        ImageError, OutputError: the file can't be written.
    """
    output = f"pasted/{name}{photo.suffix}"
    limit = JPEG_XMP_BYTES if photo.suffix == ".jpg" else None
    xmp = composite_mark(made, photo.xmp, limit)
    write_photo(folder / output, replace(_changed(photo, edits), xmp=xmp))
    return output


def _changed(photo: Photo, edits: list[Edit]) -> Photo:
    """The photo with the edits in it, in the depth that will be written."""
    if photo.deep is None:
        return replace(photo, pixels=paste(photo.pixels, edits))
    return replace(photo, deep=np.dstack([paste(photo.deep[..., :3], edits), photo.deep[..., 3:]]))
