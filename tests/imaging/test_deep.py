"""Photos of 16 bits a channel."""

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from ramps import COLOUR, MAKE, ORIENTATION

from oodinv.imaging.decode import read_photo
from oodinv.imaging.deep import decode_deep
from oodinv.imaging.encode import write_photo, write_png
from oodinv.imaging.metadata import upright
from oodinv.imaging.photo import Photo

PACKET = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'


def test_a_deep_crop_is_turned_upright(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65535, (8, 8, 3), dtype=np.uint16)
    ok, plain = cv2.imencode(".png", values[..., ::-1])
    assert ok
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()[6:]
    chunk = b"eXIf" + block
    marked = plain.tobytes()
    marked = marked[:33] + len(block).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + marked[33:]
    found, still = decode_deep(marked, 8), decode_deep(plain.tobytes(), 8)
    assert found is not None
    assert still is not None
    np.testing.assert_array_equal(found.transpose(1, 2, 0), upright(still.transpose(1, 2, 0), 6))
    write_png(tmp_path / "8.png", COLOUR)
    assert decode_deep((tmp_path / "8.png").read_bytes(), 8) is None


def deep_values(channels: int) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, 65536, (19, 23, channels), dtype=np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_a_channel_come_through(channels: int, suffix: str, tmp_path: Path) -> None:
    values = deep_values(channels)
    cv2.imwrite(str(tmp_path / f"in{suffix}"), values[..., [[0], [], [2, 1, 0], [2, 1, 0, 3]][channels - 1]])
    photo = read_photo(tmp_path / f"in{suffix}", deep=True)
    if photo.deep is None:  # Pillow shows such a TIFF with other colours, so it is left at 8 bits
        assert (channels, suffix) == (4, ".tif")
        return
    np.testing.assert_array_equal(photo.deep, np.repeat(values, 3, axis=2) if channels == 1 else values)
    write_photo(tmp_path / "out.png", photo)
    again = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    assert again is not None
    assert again.dtype == np.uint16
    expected = values[..., 0] if channels == 1 else values[..., [2, 1, 0, 3][:channels]]
    np.testing.assert_array_equal(again, expected)
    assert read_photo(tmp_path / "out.png").grey == (channels == 1)


@pytest.mark.parametrize("suffix", [".pgm", ".jp2"])
def test_sixteen_bits_of_pgm_and_jpeg_2000_come_through(suffix: str, tmp_path: Path) -> None:
    values = np.tile(deep_values(1), (8, 8, 1))
    cv2.imwrite(str(tmp_path / f"in{suffix}"), values[..., 0], [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    photo = read_photo(tmp_path / f"in{suffix}", deep=True)
    assert photo.grey
    assert photo.deep is not None
    np.testing.assert_array_equal(photo.deep, np.repeat(values, 3, axis=2))


def test_sixteen_bits_keep_exif_profile_and_xmp(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[MAKE] = "Camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    values = deep_values(3)
    pixels = (values // 257).astype(np.uint8)
    photo = Photo(pixels, exif=exif.tobytes(), icc=profile, xmp=PACKET, deep=values)
    write_photo(tmp_path / "deep.png", photo)
    again = read_photo(tmp_path / "deep.png", deep=True)
    assert (again.icc, again.xmp) == (profile, PACKET)
    np.testing.assert_array_equal(again.deep, values)
    with Image.open(tmp_path / "deep.png") as written:
        written.load()
        assert written.getexif()[MAKE] == "Camera"


def test_a_deep_photo_is_turned_upright(tmp_path: Path) -> None:
    values = deep_values(3)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    sideways = Photo((values // 257).astype(np.uint8), exif=exif.tobytes(), deep=values)
    write_photo(tmp_path / "sideways.png", sideways)
    photo = read_photo(tmp_path / "sideways.png", deep=True)
    np.testing.assert_array_equal(photo.deep, upright(values, 6))


def test_eight_bits_are_not_called_deep(tmp_path: Path) -> None:
    write_png(tmp_path / "eight.png", COLOUR)
    assert read_photo(tmp_path / "eight.png", deep=True).deep is None
