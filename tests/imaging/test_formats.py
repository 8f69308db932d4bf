"""HEIC and AVIF, frames, output formats, and what suffixes say, with pictures that are made here."""

import io
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, JpegImagePlugin
from shapes import smooth

from oodinv.errors import ImageError
from oodinv.imaging.decode import count_frames, decode_photo, read_photo
from oodinv.imaging.encode import AS_SOURCE, FORMAT_NAMES, OutputFormat, write_photo
from oodinv.imaging.formats import READABLE_SUFFIXES, suffix_kind
from oodinv.imaging.photo import Photo

PIXELS = smooth(96, 0).clip(0, 255).astype(np.uint8)[:64]
ORIENTATION = 0x0112
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TURNED = '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
TURNED += 'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF>'


def saved(pixels: np.ndarray, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b).mean())


@pytest.mark.parametrize("form", ["HEIF", "AVIF"])
def test_heic_and_avif_are_read_with_their_profile(form: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.heic"
    path.write_bytes(saved(PIXELS, form, quality=95, icc_profile=SRGB))
    photo = read_photo(path)
    assert photo.format == form
    assert photo.icc == SRGB
    assert photo.suffix == ".jpg"
    assert difference(photo.pixels, PIXELS) < 4


def _said(form: str) -> dict[str, bytes]:
    """XMP that says another orientation; pillow-heif would turn the picture by it on saving."""
    return {} if form == "HEIF" else {"xmp": TURNED.encode()}


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("form", ["HEIF", "AVIF"])
def test_heic_and_avif_are_turned_once(form: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photo = decode_photo(saved(PIXELS, form, quality=95, exif=exif.tobytes(), **_said(form)), Path("in"))
    turns = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]
    assert difference(photo.pixels, np.rot90(PIXELS, turns)) < 4
    write_photo(tmp_path / "out.jpg", photo)
    content = (tmp_path / "out.jpg").read_bytes()
    assert b"Orientation" not in content
    assert difference(decode_photo(content, Path("out")).pixels, photo.pixels) < 3


def test_transparency_of_heic_comes_through() -> None:
    alpha = np.where(PIXELS[..., 0] > 100, 255, 0).astype(np.uint8)
    photo = decode_photo(saved(np.dstack([PIXELS, alpha]), "HEIF", quality=95), Path("in"))
    assert photo.alpha is not None
    assert difference(photo.alpha, alpha) < 20
    assert photo.suffix == ".png"


def test_damaged_heic_is_named(tmp_path: Path) -> None:
    content = saved(PIXELS, "HEIF")
    for n, damaged in enumerate((content[: len(content) // 2], content[:40], content[:200] + bytes(300))):
        path = tmp_path / f"{n}.heic"
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match=rf"{n}\.heic"):
            read_photo(path)


def test_a_display_p3_heic_without_profile_gets_one() -> None:
    heif = pillow_heif.from_pillow(Image.fromarray(PIXELS))
    file = io.BytesIO()
    heif.save(file, quality=95, color_primaries=12, transfer_characteristics=13, matrix_coefficients=6)
    photo = decode_photo(file.getvalue(), Path("in"))
    assert photo.icc is not None
    profile = ImageCms.ImageCmsProfile(io.BytesIO(photo.icc))
    red = profile.profile.red_primary
    assert red is not None
    assert red[1][:2] == pytest.approx((0.68, 0.32), abs=0.003)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "readable"),
        ("A.HEIC", "readable"),
        ("a.b.avif", "readable"),
        ("a.CR2", "unsupported"),
        ("a.nef", "unsupported"),
        ("a.dng", "unsupported"),
        ("a.mp4", "unsupported"),
        ("a.pdf", "unsupported"),
        ("a.xmp", "other"),
        ("a.txt", "other"),
        ("jpg", "other"),
    ],
)
def test_a_suffix_says_whether_a_file_can_be_read(name: str, kind: str) -> None:
    assert suffix_kind(Path(name)) == kind


def test_every_readable_suffix_of_a_picture_is_one_that_pillow_knows() -> None:
    pillow_heif.register_heif_opener()
    Image.init()
    known = set(Image.EXTENSION)
    assert READABLE_SUFFIXES - known <= {".heics", ".heifs", ".mpo"}


FRAMES = [np.roll(PIXELS, 8 * n, axis=1) for n in range(3)]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "HEIF"])
def test_frames_are_counted_and_read_one_by_one(form: str) -> None:
    exact = {"lossless": True} if form == "WEBP" else {"quality": 95} if form in ("AVIF", "HEIF") else {}
    others = [Image.fromarray(frame) for frame in FRAMES[1:]]
    content = saved(FRAMES[0], form, save_all=True, append_images=others, **exact)
    assert count_frames(content, Path("in")) == 3
    for number, frame in enumerate(FRAMES):
        assert difference(decode_photo(content, Path("in"), frame=number).pixels, frame) < (8 if form == "GIF" else 4)
    for wrong in (3, -1):
        with pytest.raises(ImageError, match=rf"in: has no frame {wrong}, only 3"):
            decode_photo(content, Path("in"), frame=wrong)


def test_an_empty_file_is_called_empty() -> None:
    for look in (count_frames, decode_photo):
        with pytest.raises(ImageError, match="in: expected a picture, found an empty file"):
            look(b"", Path("in"))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "MPO", "HEIF", "BMP"])
def test_still_pictures_have_one_frame(form: str) -> None:
    more = {"save_all": True, "append_images": [Image.fromarray(FRAMES[1])]} if form == "MPO" else {}
    assert count_frames(saved(PIXELS, form, **more), Path("in")) == 1


def test_pages_of_another_size_and_depth_are_read() -> None:
    file = io.BytesIO()
    grey = Image.fromarray((np.arange(40 * 30, dtype=np.uint16) * 50).reshape(30, 40))
    Image.fromarray(PIXELS).save(file, "TIFF", save_all=True, append_images=[grey])
    photo = decode_photo(file.getvalue(), Path("in"), deep=True, frame=1)
    assert photo.pixels.shape == (30, 40, 3)
    assert photo.grey


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [60, 93])
def test_a_jpeg_keeps_its_tables_and_subsampling(quality: int, subsampling: int, tmp_path: Path) -> None:
    photo = decode_photo(saved(PIXELS, "JPEG", quality=quality, subsampling=subsampling), Path("in"))
    write_photo(tmp_path / "out.jpg", photo)
    with (
        Image.open(tmp_path / "out.jpg") as written,
        Image.open(io.BytesIO(saved(PIXELS, "JPEG", quality=quality))) as like,
    ):
        assert isinstance(written, JpegImagePlugin.JpegImageFile)
        assert written.quantization == like.quantization
        assert JpegImagePlugin.get_sampling(written) == subsampling
    assert difference(read_photo(tmp_path / "out.jpg").pixels, photo.pixels) < 0.5


def test_a_grey_jpeg_keeps_its_table(tmp_path: Path) -> None:
    photo = decode_photo(saved(PIXELS[..., 0], "JPEG", quality=70), Path("in"))
    write_photo(tmp_path / "out.jpg", photo)
    with Image.open(tmp_path / "out.jpg") as written:
        assert written.mode == "L"
        assert isinstance(written, JpegImagePlugin.JpegImageFile)
        assert photo.jpeg is not None
        assert tuple(written.quantization[0]) == photo.jpeg.tables[0]


def test_the_chosen_quality_is_used(tmp_path: Path) -> None:
    photo = decode_photo(saved(PIXELS, "JPEG", quality=90, subsampling=2), Path("in"))
    sizes = []
    for suffix in (".jpg", ".webp"):
        for quality in (30, 98):
            write_photo(tmp_path / f"q{suffix}", photo, quality)
            sizes.append((tmp_path / f"q{suffix}").stat().st_size)
    assert sizes[0] < sizes[1]
    assert sizes[2] < sizes[3]
    with Image.open(tmp_path / "q.jpg") as written:
        assert JpegImagePlugin.get_sampling(written) == 2


@pytest.mark.parametrize("name", FORMAT_NAMES)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_every_format_holds_every_mode(name: str, mode: str, tmp_path: Path) -> None:
    picture = Image.fromarray(np.dstack([PIXELS, PIXELS[..., 1]])).convert(mode)
    file = io.BytesIO()
    picture.save(file, "PNG")
    photo = decode_photo(file.getvalue(), Path("in"))
    form = next(OutputFormat(n) for n in FORMAT_NAMES if n == name)
    path = tmp_path / f"out{form.suffix(photo)}"
    if name == "jpg" and "A" in mode:
        with pytest.raises(ImageError, match="holds no transparency"):
            write_photo(path, photo)
        return
    write_photo(path, photo)
    again = read_photo(path)
    assert difference(again.pixels, photo.pixels) < (3 if name == "jpg" else 1e-9)
    assert (again.alpha is None) == (photo.alpha is None)
    assert again.grey == (mode in ("L", "LA") and name != "webp")


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tiff"])
def test_formats_of_8_bits_are_written_from_all_16(suffix: str, tmp_path: Path) -> None:
    deep = PIXELS.astype(np.uint16) * 257
    write_photo(tmp_path / f"out{suffix}", Photo(np.zeros_like(PIXELS), deep=deep))
    assert difference(read_photo(tmp_path / f"out{suffix}").pixels, PIXELS) < 3


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tiff", ".png"])
def test_every_format_keeps_exif_xmp_and_profile(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    said = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'
    source = saved(PIXELS, "JPEG", exif=exif.tobytes(), icc_profile=SRGB, xmp=said)
    write_photo(tmp_path / f"out{suffix}", decode_photo(source, Path("in")))
    again = read_photo(tmp_path / f"out{suffix}")
    assert again.icc == SRGB
    assert again.xmp == said
    with Image.open(tmp_path / f"out{suffix}") as written:
        assert written.getexif()[0x010F] == "Camera"


def test_impossible_formats_are_refused() -> None:
    assert AS_SOURCE.suffix(Photo(PIXELS, format="HEIF")) == ".jpg"
    assert OutputFormat("webp", 80).suffix(Photo(PIXELS)) == ".webp"
    for name, quality in (("png", 80), ("tiff", 80), ("jpg", 0), (None, 101)):
        with pytest.raises(ValueError, match="quality"):
            OutputFormat(name, quality)  # type: ignore[arg-type]


def test_webp_names_its_largest_size(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"out\.webp: WebP holds no picture"):
        write_photo(tmp_path / "out.webp", Photo(np.zeros((1, 16_384, 3), np.uint8)))
