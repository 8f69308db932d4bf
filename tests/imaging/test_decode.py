"""Reading photos, compared with Pillow and with arrays built by hand."""

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from ramps import ALPHA, COLOUR, GREY, MAKE, ORIENTATION, RAMP, three

from oodinv.errors import ImageError
from oodinv.imaging.decode import decode_photo, read_photo
from oodinv.imaging.encode import write_photo, write_png
from oodinv.imaging.photo import Photo


def grey16() -> Image.Image:
    return Image.fromarray((RAMP * 21).astype(np.uint16))


def palette() -> Image.Image:
    return Image.fromarray(COLOUR).quantize(64)


def pillow_rgb(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"))


READABLE: dict[str, tuple[Callable[[], Image.Image], str, Callable[[], np.ndarray]]] = {
    "rgb": (lambda: Image.fromarray(COLOUR), ".png", lambda: COLOUR),
    "grey": (lambda: Image.fromarray(GREY), ".png", lambda: three(GREY)),
    "grey with alpha": (lambda: Image.fromarray(np.dstack([GREY, ALPHA])), ".png", lambda: three(GREY)),
    "rgba": (lambda: Image.fromarray(np.dstack([COLOUR, ALPHA])), ".png", lambda: COLOUR),
    "rgba webp": (lambda: Image.fromarray(np.dstack([COLOUR, ALPHA])), ".webp", lambda: COLOUR),
    "rgb tiff": (lambda: Image.fromarray(COLOUR), ".tif", lambda: COLOUR),
    "bilevel": (lambda: Image.fromarray(ALPHA > 0), ".png", lambda: three(np.where(ALPHA > 0, 255, 0))),
    "palette": (palette, ".png", lambda: pillow_rgb(palette())),
    "gif": (palette, ".gif", lambda: pillow_rgb(palette())),
    "16-bit grey": (grey16, ".png", lambda: three(np.rint(RAMP * 21 / 257))),
    "16-bit grey tiff": (grey16, ".tif", lambda: three(np.rint(RAMP * 21 / 257))),
    "float grey": (lambda: Image.fromarray((GREY / 255).astype(np.float32)), ".tif", lambda: three(GREY)),
    "cmyk tiff": (
        lambda: Image.fromarray(COLOUR).convert("CMYK"),
        ".tif",
        lambda: pillow_rgb(Image.fromarray(COLOUR).convert("CMYK")),
    ),
}


@pytest.mark.parametrize("kind", READABLE)
def test_pictures_of_every_mode_are_read(kind: str, tmp_path: Path) -> None:
    make, suffix, expected = READABLE[kind]
    path = tmp_path / f"photo{suffix}"
    make().save(path, **({"lossless": True, "exact": True} if suffix == ".webp" else {}))
    photo = read_photo(path)
    assert photo.pixels.dtype == np.uint8
    np.testing.assert_array_equal(photo.pixels, expected())
    assert photo.grey == ("grey" in kind or kind == "bilevel")
    if "alpha" in kind or "rgba" in kind:
        np.testing.assert_array_equal(photo.alpha, ALPHA)
    else:
        assert photo.alpha is None


def test_palettes_with_transparency_are_expanded(tmp_path: Path) -> None:
    picture = palette()
    picture.save(tmp_path / "p.png", transparency=5)
    photo = read_photo(tmp_path / "p.png")
    np.testing.assert_array_equal(photo.alpha == 0, np.asarray(picture) == 5)
    np.testing.assert_array_equal(photo.pixels, pillow_rgb(picture))


def png16(channels: np.ndarray) -> bytes:
    """A 16-bit RGB PNG from (H, W, 3) uint16, which Pillow can't write."""
    height, width, _ = channels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in channels)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "YCbCr"])
def test_large_pictures_are_read_as_pillow_reads_them(mode: str) -> None:
    """More rows than are converted at a time, and no multiple of them."""
    form, like = "TIFF" if mode == "YCbCr" else "PNG", "RGBA" if "A" in mode else "RGB"
    values = np.random.default_rng(0).integers(0, 256, (700, 9, len(like)), dtype=np.uint8)
    picture = Image.fromarray(values).convert(mode)
    file = io.BytesIO()
    picture.save(file, form)
    photo = decode_photo(file.getvalue(), Path("large"))
    expected = np.asarray(Image.open(file).convert(like))
    np.testing.assert_array_equal(photo.pixels, expected[..., :3])
    assert (photo.alpha is None) == (like == "RGB")
    if photo.alpha is not None:
        np.testing.assert_array_equal(photo.alpha, expected[..., 3])


def test_large_lab_pictures_are_converted_as_at_once() -> None:
    values = np.random.default_rng(0).integers(60, 190, (700, 9, 3), dtype=np.uint8)
    picture = Image.frombytes("LAB", (9, 700), values.tobytes())
    file = io.BytesIO()
    picture.save(file, "TIFF")
    expected = ImageCms.profileToProfile(
        picture, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert expected is not None
    np.testing.assert_array_equal(decode_photo(file.getvalue(), Path("large")).pixels, np.asarray(expected))


def test_large_grey_pictures_of_16_bits_are_scaled() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (700, 9), dtype=np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    photo = decode_photo(file.getvalue(), Path("large"), deep=True)
    np.testing.assert_array_equal(photo.pixels, three(np.rint(values / 257)))
    np.testing.assert_array_equal(photo.deep, three(values))


def peak_of_decoding(content: bytes, *, deep: bool = False) -> tuple[int, Photo]:
    """What Python and NumPy held at most, in bytes; what Pillow and OpenCV hold is not seen."""
    tracemalloc.start()
    try:
        photo = decode_photo(content, Path("large"), deep=deep)
        return tracemalloc.get_traced_memory()[1], photo
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("mode", ["RGB", "I;16", "F"])
def test_a_large_picture_is_decoded_without_copies_of_it(mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (1000, 6000)).save(file, "TIFF")
    peak, photo = peak_of_decoding(file.getvalue())
    assert peak < 1.5 * photo.pixels.nbytes


@pytest.mark.parametrize("channels", [3, 4])
def test_a_large_picture_of_16_bits_is_decoded_without_copies_of_it(channels: int) -> None:
    packed = cv2.imencode(".png", np.full((6000, 1000, channels), 257 * 90, np.uint16))[1].tobytes()
    peak, photo = peak_of_decoding(packed, deep=True)
    assert photo.deep is not None
    assert peak < 1.4 * (photo.deep.nbytes + photo.pixels.nbytes)


def test_read_16_bit_rgb_is_scaled(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(png16(COLOUR.astype(np.uint16) * 257))
    np.testing.assert_array_equal(read_photo(path).pixels, COLOUR)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_the_orientation_is_applied(orientation: int, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"turned{suffix}"
    exif = Image.Exif()
    exif[MAKE], exif[ORIENTATION] = "Camera", orientation
    Image.fromarray(COLOUR).save(path, exif=exif)
    photo = read_photo(path)
    with Image.open(path) as reference:
        np.testing.assert_array_equal(photo.pixels, np.asarray(ImageOps.exif_transpose(reference)))
    kept = Image.Exif()
    kept.load(photo.exif or b"")
    assert kept[MAKE] == "Camera"
    assert kept.get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exif_keeps_camera_settings_and_place(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[MAKE] = "Camera"
    exif[0x8769] = {0x9003: "2020:01:02 03:04:05"}
    exif[0x8825] = {1: "N"}
    Image.fromarray(COLOUR).save(tmp_path / f"in{suffix}", exif=exif.tobytes())
    write_photo(tmp_path / "out.png", read_photo(tmp_path / f"in{suffix}"))
    with Image.open(tmp_path / "out.png") as written:
        kept = written.getexif()
        assert kept[MAKE] == "Camera"
        assert kept.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
        assert kept.get_ifd(0x8825)[1] == "N"


def bomb(width: int, height: int) -> bytes:
    packed = png16(np.zeros((1, 1, 3), np.uint16))
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = b"IHDR" + body
    return packed[:12] + header + struct.pack(">I", zlib.crc32(header)) + packed[33:]


def truncated(kind: str) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()[: buffer.tell() // 2]


BROKEN = {
    "empty": (b"", "empty file"),
    "text": (b"these are words\n" * 20, "expected a picture"),
    "truncated jpeg": (truncated("JPEG"), "damaged or incomplete"),
    "truncated png": (truncated("PNG"), "damaged or incomplete"),
    "truncated webp": (truncated("WEBP"), "expected a picture|damaged or incomplete"),
    "truncated tiff": (truncated("TIFF"), "expected a picture|damaged or incomplete"),
    "header alone": (b"\x89PNG\r\n\x1a\n", "expected a picture|damaged or incomplete"),
    "bomb": (bomb(30_000, 30_000), "decompression bomb"),
    "column": (bomb(1, 100_000_000), "65,535 pixels on a side"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_named(kind: str, tmp_path: Path) -> None:
    content, message = BROKEN[kind]
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as caught:
        read_photo(path)
    assert str(path) in str(caught.value)


def test_missing_files_folders_and_forbidden_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_photo(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="folder"):
        read_photo(tmp_path)
    path = tmp_path / "locked.png"
    write_png(path, COLOUR)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match=r"locked.png.*Permission denied.*check its permissions"):
        read_photo(path)


def test_grey_values_without_a_stated_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 300.0, np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(ImageError, match="grey values outside 0 to 1"):
        read_photo(tmp_path / "f.tif")


def test_threads_decode_the_same_pixels(tmp_path: Path) -> None:
    paths = []
    for index in range(24):
        paths.append(tmp_path / f"{index}.png")
        write_png(paths[-1], np.roll(COLOUR, index, axis=1))
    with ThreadPoolExecutor(8) as pool:
        photos = list(pool.map(read_photo, paths))
    for index, photo in enumerate(photos):
        np.testing.assert_array_equal(photo.pixels, np.roll(COLOUR, index, axis=1))


def test_an_orientation_that_is_no_number_counts_as_none(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "camera"
    path = tmp_path / "odd.jpg"
    Image.fromarray(COLOUR).save(path, exif=exif.tobytes().replace(b"\x01\x0e", b"\x01\x12"))
    assert read_photo(path).pixels.shape == COLOUR.shape
