"""Reading and writing photos, compared with Pillow and with arrays built by hand."""

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
import torch
from PIL import Image, ImageCms, ImageOps
from shapes import smooth
from tolerances import LEVEL

from oodinv.errors import ImageError, OutputError
from oodinv.imaging.decode import decode_photo, read_photo
from oodinv.imaging.deep import decode_deep
from oodinv.imaging.encode import write_photo, write_png
from oodinv.imaging.files import atomic_write
from oodinv.imaging.metadata import upright
from oodinv.imaging.photo import Photo
from oodinv.imaging.pixels import blurred, to_tensor, to_uint8

RAMP = np.arange(64 * 48, dtype=np.uint32).reshape(48, 64)
GREY = (RAMP % 256).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)
ALPHA = np.where(RAMP % 7 == 0, 0, 200).astype(np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKE, ORIENTATION = 271, 274
PACKET = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'


def grey16() -> Image.Image:
    return Image.fromarray((RAMP * 21).astype(np.uint16))


def palette() -> Image.Image:
    return Image.fromarray(COLOUR).quantize(64)


def three(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey] * 3, axis=2)


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


@pytest.mark.parametrize("deviation", [2.0, 9.0, 32.0])
def test_a_wide_blur_is_gaussian(deviation: float) -> None:
    picture = smooth(512, 0) + 20 * np.random.default_rng(0).normal(size=(512, 512, 3)).astype(np.float32)
    inner = np.s_[128:384, 128:384]  # borders are mirrored a pixel differently
    exact = cv2.GaussianBlur(picture, (0, 0), deviation)
    np.testing.assert_allclose(blurred(picture, deviation)[inner], exact[inner], atol=LEVEL)
    assert blurred(picture[:3, :, 0], 32.0).shape == (3, 512)


def test_tensor_and_back_is_exact_and_clips() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    tensor = to_tensor(values)
    assert tensor.shape == (1, 3, 16, 16)
    assert (tensor.min(), tensor.max()) == (-1, 1)
    np.testing.assert_array_equal(to_uint8(tensor), values)
    np.testing.assert_array_equal(to_uint8(torch.tensor([-3.0, 5.0]).reshape(1, 1, 1, 2)).ravel(), [0, 255])
    assert to_tensor(values[0]).shape == (1, 3, 16, 16)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_written_photo_keeps_exif_and_profile(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[MAKE] = "Camera"
    path = tmp_path / f"out{suffix}"
    write_photo(path, Photo(COLOUR, exif=exif.tobytes(), icc=SRGB))
    with Image.open(path) as written:
        assert written.getexif()[MAKE] == "Camera"
        assert written.info["icc_profile"] == SRGB
    photo = read_photo(path)
    assert photo.icc == SRGB
    if suffix == ".png":
        np.testing.assert_array_equal(photo.pixels, COLOUR)


def test_written_photo_keeps_transparency_and_greyness(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    write_photo(path, Photo(three(GREY), alpha=ALPHA, grey=True, icc=SRGB))
    with Image.open(path) as written:
        assert written.mode == "LA"
        assert "icc_profile" not in written.info  # an RGB profile does not describe grey pixels
    write_photo(path, Photo(COLOUR, alpha=ALPHA, grey=True))
    photo = read_photo(path)
    assert not photo.grey
    np.testing.assert_array_equal(photo.pixels, COLOUR)
    np.testing.assert_array_equal(photo.alpha, ALPHA)


def test_jpeg_is_written_without_chroma_subsampling(tmp_path: Path) -> None:
    path = tmp_path / "out.jpg"
    write_photo(path, Photo(COLOUR, format="JPEG"))
    with Image.open(path) as written:
        assert [layer[1:3] for layer in written.layer] == [(1, 1)] * 3


def test_unwritable_photos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no transparency"):
        write_photo(tmp_path / "out.jpg", Photo(COLOUR, alpha=ALPHA))
    with pytest.raises(ImageError, match=r"\.png, \.jpg, .*choose one"):
        write_photo(tmp_path / "out.bmp", Photo(COLOUR))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"out\.png: can't be written"):
        write_png(tmp_path / "file" / "out.png", COLOUR)
    with pytest.raises(ImageError, match="can't hold this name"):
        write_png(tmp_path / f"{'n' * 300}.png", COLOUR)


def test_the_suffix_follows_the_source_format() -> None:
    assert Photo(COLOUR, format="JPEG").suffix == ".jpg"
    assert Photo(COLOUR, format="MPO").suffix == ".jpg"
    assert Photo(COLOUR, format="TIFF").suffix == ".png"


def test_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "kept.bin"
    atomic_write(path, lambda file: file.write(b"old"))

    def interrupted(file: io.BufferedIOBase) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(path, interrupted)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_the_same_pixels_give_the_same_bytes(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", COLOUR)
    write_png(tmp_path / "b.png", COLOUR.copy())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_threads_decode_the_same_pixels(tmp_path: Path) -> None:
    paths = []
    for index in range(24):
        paths.append(tmp_path / f"{index}.png")
        write_png(paths[-1], np.roll(COLOUR, index, axis=1))
    with ThreadPoolExecutor(8) as pool:
        photos = list(pool.map(read_photo, paths))
    for index, photo in enumerate(photos):
        np.testing.assert_array_equal(photo.pixels, np.roll(COLOUR, index, axis=1))


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


def test_an_orientation_that_is_no_number_counts_as_none(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "camera"
    path = tmp_path / "odd.jpg"
    Image.fromarray(COLOUR).save(path, exif=exif.tobytes().replace(b"\x01\x0e", b"\x01\x12"))
    assert read_photo(path).pixels.shape == COLOUR.shape


def test_exif_too_large_for_a_jpeg_is_left_out(tmp_path: Path) -> None:
    photo = Photo(COLOUR, exif=b"Exif\0\0" + b"x" * 70_000, format="JPEG")
    write_photo(tmp_path / "large.jpg", photo)
    assert read_photo(tmp_path / "large.jpg").pixels.shape == COLOUR.shape


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
