"""Writing photos: metadata, transparency, and the same bytes each time."""

import errno
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ramps import ALPHA, COLOUR, GREY, MAKE, SRGB, three

from oodinv.errors import ImageError, OutputError
from oodinv.imaging.decode import read_photo
from oodinv.imaging.encode import write_photo, write_png
from oodinv.imaging.files import atomic_write
from oodinv.imaging.photo import Photo


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


def test_a_folder_that_vanishes_while_a_file_is_written_is_not_a_refused_name(tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def remove_folder(_: io.BufferedIOBase) -> None:
        shutil.rmtree(folder)

    with pytest.raises(OutputError, match="can't be written"):
        atomic_write(folder / "a.bin", remove_folder)


def test_a_refused_folder_name_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """exFAT through FUSE reports a folder with a colon as missing, also after its parents were made."""
    make = os.mkdir

    def strict(path: Path, mode: int = 0o777) -> None:
        if ":" in os.fspath(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        make(path, mode)

    monkeypatch.setattr(os, "mkdir", strict)
    with pytest.raises(ImageError, match="can't hold this name"):
        atomic_write(tmp_path / "a:b" / "photo.png", lambda file: file.write(b"x"))


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


def test_exif_too_large_for_a_jpeg_is_left_out(tmp_path: Path) -> None:
    photo = Photo(COLOUR, exif=b"Exif\0\0" + b"x" * 70_000, format="JPEG")
    write_photo(tmp_path / "large.jpg", photo)
    assert read_photo(tmp_path / "large.jpg").pixels.shape == COLOUR.shape
