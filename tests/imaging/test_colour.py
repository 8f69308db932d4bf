"""Photos without colour stay without it; profiles made of numbers say what the numbers say."""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from shapes import smooth

from oodinv.compositing.paste_back import Patch, paste
from oodinv.faces.crop import crop
from oodinv.imaging.colour import is_colourless, matching_colour, profile_of_codes, profile_of_png
from oodinv.imaging.decode import decode_photo, read_photo
from oodinv.imaging.encode import write_photo
from oodinv.imaging.photo import Photo

SIZE = 160
GREY = smooth(SIZE, 3).clip(0, 255).astype(np.uint8)[..., 0]
QUAD = np.array([[40, 40], [40, 120], [120, 120], [120, 40]], dtype=np.float64)
MARGIN = np.ones((SIZE, SIZE), bool)
MARGIN[40:120, 40:120] = False


def dot_gain() -> bytes:
    """A grey profile with the tone curve of 20 % dot gain, as Photoshop's: a table of 256 values."""
    ink = 1 - np.linspace(0, 1, 256)
    reflected = 1 - np.clip(ink + 4 * 0.2 * ink * (1 - ink), 0, 1)
    curve = b"curv" + struct.pack(">4xI", 256) + np.rint(reflected * 65535).astype(">u2").tobytes()
    return grey_profile(curve)


def grey_profile(curve: bytes) -> bytes:
    white = b"XYZ " + struct.pack(">4x3i", 63190, 65536, 54061)
    words = b"desc" + struct.pack(">4xI", 5) + b"grey\0" + bytes(78)
    tags = [(b"desc", words), (b"wtpt", white), (b"kTRC", curve), (b"cprt", b"text\0\0\0\0none\0")]
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags:
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4xI", start + len(body), 0x02400000) + b"mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28)
    return (head + struct.pack(">3i", 63190, 65536, 54061)).ljust(128, b"\0") + table + body


PROFILES = {"dot gain": dot_gain(), "gamma 1.8": grey_profile(b"curv" + struct.pack(">4xIH", 1, 461) + b"\0\0")}


def edited(photo: Photo) -> Photo:
    """The photo with a strongly coloured change of its middle, as a generator makes it."""
    from dataclasses import replace

    before = crop(photo.pixels, QUAD, 64)
    tint = np.stack([np.full((64, 64), 90), np.tile(np.arange(64), (64, 1)), np.full((64, 64), 10)], axis=2)
    after = (before * 0.6 + tint).astype(np.uint8)
    patch = Patch(QUAD, before, after)
    if photo.deep is None:
        return replace(photo, pixels=paste(photo.pixels, [patch]))
    return replace(photo, deep=np.dstack([paste(photo.deep[..., :3], [patch]), photo.deep[..., 3:]]))


def files(profile: bytes | None) -> dict[str, tuple[bytes, str]]:
    """Grey photos of every kind as files, and the mode that results must have."""
    options = {} if profile is None else {"icc_profile": profile}
    alpha = np.full_like(GREY, 200)
    deep = GREY.astype(np.uint16) * 250

    def saved(pixels: np.ndarray, form: str, **more: object) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, form, **more)
        return file.getvalue()

    return {
        "L png": (saved(GREY, "PNG", **options), "L"),
        "L jpeg": (saved(GREY, "JPEG", quality=95, **options), "L"),
        "L tiff": (saved(GREY, "TIFF", **options), "L"),
        "LA png": (saved(np.dstack([GREY, alpha]), "PNG", **options), "LA"),
        "I;16 png": (saved(deep, "PNG", **options), "I;16"),
        "I;16 tiff": (saved(deep, "TIFF", **options), "I;16"),
    }


@pytest.mark.parametrize("profile", [None, *PROFILES])
@pytest.mark.parametrize("kind", files(None))
def test_a_grey_photo_keeps_mode_profile_and_tones(kind: str, profile: str | None, tmp_path: Path) -> None:
    icc = None if profile is None else PROFILES[profile]
    content, mode = files(icc)[kind]
    photo = decode_photo(content, Path("in"), deep=True)
    path = tmp_path / f"out{photo.suffix}"
    write_photo(path, edited(photo))
    with Image.open(io.BytesIO(content)) as source, Image.open(path) as result:
        assert result.mode == mode
        assert result.info.get("icc_profile") == icc
        before, after = (np.asarray(picture.getchannel(0) if "A" in mode else picture) for picture in (source, result))
        outside = np.abs(before.astype(int) - after)[MARGIN]
        assert outside.max() <= (2 if kind == "L jpeg" else 0)
        assert np.abs(before.astype(int) - after)[~MARGIN].mean() > 5


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_grey_photo_in_rgb_stays_colourless(suffix: str, tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.stack([GREY] * 3, axis=2)).save(file, {".png": "PNG", ".jpg": "JPEG"}[suffix])
    photo = decode_photo(file.getvalue(), Path("in"))
    write_photo(tmp_path / f"out{suffix}", edited(photo))
    with Image.open(tmp_path / f"out{suffix}") as result:
        assert result.mode == "RGB"
        shown = np.asarray(result).astype(int)
    assert np.ptp(shown, axis=2).max() == 0
    assert np.abs(shown - photo.pixels)[~MARGIN].mean() > 5


def test_a_photo_of_16_bits_grey_and_transparent_keeps_both(tmp_path: Path) -> None:
    from oodinv.imaging.png import pack_16

    values = np.dstack([GREY, 255 - GREY]).astype(np.uint16) * 251
    (tmp_path / "in.png").write_bytes(pack_16(values))
    photo = read_photo(tmp_path / "in.png", deep=True)
    assert photo.grey
    assert photo.deep is not None
    write_photo(tmp_path / "out.png", photo)
    written = (tmp_path / "out.png").read_bytes()
    assert written[24:26] == b"\x10\x04"  # 16 bits a channel, grey with transparency
    again = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    assert again is not None
    np.testing.assert_array_equal(again[..., 0], values[..., 0])
    np.testing.assert_array_equal(again[..., -1], values[..., 1])


def test_slightly_coloured_pictures_are_not_grey() -> None:
    photo = np.stack([GREY] * 3, axis=2)
    assert is_colourless(photo)
    assert is_colourless(photo.astype(np.uint16) * 257)
    spotted = photo.copy()
    spotted[77, 78] = (200, 40, 40)
    assert not is_colourless(spotted)
    sepia = (photo * [1.0, 0.9, 0.75]).astype(np.uint8)
    assert not is_colourless(sepia)
    assert matching_colour(sepia, sepia) is sepia
    np.testing.assert_array_equal(np.ptp(matching_colour(sepia, photo), axis=2), 0)
    np.testing.assert_array_equal(matching_colour(photo, photo), photo)


def in_srgb(pixels: np.ndarray, icc: bytes) -> np.ndarray:
    profile, srgb = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    found = ImageCms.profileToProfile(Image.fromarray(pixels), profile, srgb, intent, outputMode="RGB")
    assert found is not None
    return np.asarray(found).astype(int)


def encoded(linear: np.ndarray) -> np.ndarray:
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clip(1e-9) ** (1 / 2.4) - 0.055)
    return np.rint(255 * curve.clip(0, 1))


RAMP = np.stack([np.tile(np.arange(256, dtype=np.uint8), (4, 1))] * 3, axis=2)


@pytest.mark.parametrize("gamma", [1.0, 0.55556, 0.45455])
@pytest.mark.parametrize("grey", [False, True])
def test_a_profile_of_gamma_shows_what_gamma_says(gamma: float, grey: bool) -> None:
    icc = profile_of_png({b"gAMA": struct.pack(">I", round(gamma * 100_000))}, grey=grey)
    assert icc is not None
    shown = in_srgb(RAMP[..., 0] if grey else RAMP, icc)
    dark = 16 if grey and gamma == 1.0 else 0  # where LittleCMS itself interpolates coarsely
    np.testing.assert_allclose(shown[:, dark:], encoded((RAMP / 255) ** (1 / gamma))[:, dark:], atol=2)


def test_a_profile_of_chromaticities_shows_them() -> None:
    adobe = struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
    icc = profile_of_png({b"gAMA": struct.pack(">I", 45455), b"cHRM": adobe}, grey=False)
    assert icc is not None
    colours = np.array([[[100, 150, 100], [128, 128, 128], [200, 180, 190]]], np.uint8)
    linear = (colours / 255) ** 2.2
    # Adobe RGB to sRGB, both with white D65: the product of their matrices.
    matrix = np.array([[1.39836, -0.39836, 0.0], [0.0, 1.0, 0.0], [0.0, -0.04293, 1.04293]])
    np.testing.assert_allclose(in_srgb(colours, icc), encoded(linear @ matrix.T), atol=2)


def test_numbers_that_mean_srgb_or_nothing_need_no_profile() -> None:
    assert profile_of_png({}, grey=False) is None
    assert profile_of_png({b"sRGB": b"\0", b"gAMA": struct.pack(">I", 45455)}, grey=False) is None
    assert profile_of_png({b"gAMA": b"\0\0\0\0"}, grey=False) is None
    assert profile_of_png({b"gAMA": b"\0\0\1\0", b"cHRM": bytes(32)}, grey=False) is None
    assert profile_of_codes(1, 13, grey=False) is None
    assert profile_of_codes(77, 13, grey=False) is None
    assert profile_of_codes(9, 16, grey=False) is None


@pytest.mark.parametrize("suffix", [".jpg", ".tiff", ".webp"])
def test_gamma_of_a_png_becomes_a_profile_in_other_formats(suffix: str, tmp_path: Path) -> None:
    photo = Photo(RAMP.repeat(8, 0), chunks={b"gAMA": struct.pack(">I", 100_000)})
    write_photo(tmp_path / f"out{suffix}", photo)
    with Image.open(tmp_path / f"out{suffix}") as written:
        icc = written.info["icc_profile"]
    np.testing.assert_allclose(in_srgb(RAMP, icc), encoded(RAMP / 255), atol=2)


def test_a_grey_profile_becomes_one_of_rgb_in_webp(tmp_path: Path) -> None:
    """WebP has no grey pixels; the tones must look the same."""
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "PNG", icc_profile=dot_gain())
    write_photo(tmp_path / "out.webp", decode_photo(file.getvalue(), Path("in")))
    srgb = ImageCms.createProfile("sRGB")
    with Image.open(tmp_path / "out.webp") as written, Image.open(file) as source:
        shown = ImageCms.profileToProfile(
            written.convert("RGB"), ImageCms.ImageCmsProfile(io.BytesIO(written.info["icc_profile"])), srgb
        )
        wanted = ImageCms.profileToProfile(
            source, ImageCms.ImageCmsProfile(io.BytesIO(dot_gain())), srgb, outputMode="RGB"
        )
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(wanted)).max() <= 2
    plain = np.abs(np.repeat(GREY[..., None], 3, axis=2).astype(int) - np.asarray(wanted)).max()
    assert plain > 8, "the profile changes tones"
