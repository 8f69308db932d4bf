"""Bytes that are nearly pictures: decoded or refused."""

import io
from pathlib import Path

import numpy as np
from altered import altered, fuzz
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from oodinv.errors import ImageError
from oodinv.imaging.decode import decode_photo


def pictures() -> list[bytes]:
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = []
    for form, options in (
        ("PNG", {"exif": exif}), ("JPEG", {"exif": exif}), ("WEBP", {}), ("GIF", {}),
        ("TIFF", {"compression": "tiff_lzw"}), ("BMP", {}), ("PPM", {}),
    ):  # fmt: skip
        file = io.BytesIO()
        colour.save(file, form, **options)
        found.append(file.getvalue())
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I;16"):
        file = io.BytesIO()
        grey = colour.convert("L")
        odd = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else colour.convert(mode)
        odd.save(file, "TIFF" if mode == "CMYK" else "PNG")
        found.append(file.getvalue())
    return found


@fuzz
@given(st.one_of(altered(pictures()), st.binary(max_size=64)))
def test_any_bytes_are_a_picture_or_an_image_error(content: bytes) -> None:
    try:
        photo = decode_photo(content, Path("odd.png"))
    except ImageError as error:
        assert "odd.png" in str(error)  # noqa: PT017 (most examples raise, some don't)
    else:
        assert photo.pixels.dtype == np.uint8
        assert photo.pixels.ndim == 3
        assert photo.pixels.shape[2] == 3
