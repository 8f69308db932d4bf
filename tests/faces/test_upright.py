"""Photos whose EXIF and XMP state different orientations come out upright, whichever of them is right."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from command import call_here
from PIL import Image, PngImagePlugin

from oodinv.directions import Direction, write
from oodinv.faces.align import read_placement
from oodinv.faces.detectors.yunet import Yunet
from oodinv.faces.upright import settled
from oodinv.imaging.decode import decode_photo, read_photo
from oodinv.imaging.photo import Photo
from oodinv.weights.pull import pull

ATTRIBUTE = '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{}"/>'
ELEMENT = (
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/"><tiff:Orientation>{}</tiff:Orientation>'
    "</rdf:Description>"
)
INVERSE = {6: 8, 8: 6}


@pytest.fixture(scope="module")
def yunet() -> Yunet:
    return Yunet(pull("yunet"))


@pytest.fixture(scope="module")
def portrait(samples: Path) -> np.ndarray:
    """A photo of one upright face, higher than wide."""
    with Image.open(samples / "jacinda-ardern-2022.jpg") as picture:
        picture.thumbnail((480, 480))
        return np.asarray(picture.convert("RGB"))


def stored(pixels: np.ndarray, orientation: int) -> Image.Image:
    """The picture as a camera that states this orientation stores it."""
    picture = Image.fromarray(pixels)
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return picture.transpose(turns[orientation]) if orientation in turns else picture


def contradicting(picture: Image.Image, exif: int | None, xmp: str, suffix: str) -> bytes:
    block = Image.Exif()
    if exif is not None:
        block[0x0112] = exif
    packet = (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        f'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{xmp}</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )
    file = io.BytesIO()
    if suffix == ".png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet)
        picture.save(file, "PNG", exif=block, pnginfo=info)
    elif suffix == ".webp":
        picture.save(file, "WEBP", exif=block, xmp=packet.encode(), lossless=True)
    elif suffix == ".tif":
        block[700] = packet.encode()
        picture.save(file, "TIFF", exif=block)
    else:
        picture.save(file, "JPEG", exif=block, xmp=packet.encode(), quality=95)
    return file.getvalue()


def decoded(content: bytes, yunet: Yunet) -> Photo:
    return settled(decode_photo(content, Path("in")), yunet, lambda n: decode_photo(content, Path("in"), orientation=n))


def alike(shown: np.ndarray, expected: np.ndarray) -> bool:
    return shown.shape == expected.shape and float(np.abs(shown.astype(int) - expected).mean()) < 4


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("packet", [ATTRIBUTE, ELEMENT], ids=["attribute", "element"])
def test_xmp_is_right_beside_exif_1_where_it_turns_the_face_upright(
    yunet: Yunet, portrait: np.ndarray, packet: str, suffix: str
) -> None:
    for orientation in (3, 6, 8):
        content = contradicting(stored(portrait, orientation), 1, packet.format(orientation), suffix)
        assert alike(decoded(content, yunet).pixels, portrait), orientation


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("packet", [ATTRIBUTE, ELEMENT], ids=["attribute", "element"])
def test_exif_1_is_right_where_the_face_is_upright_as_it_is_stored(
    yunet: Yunet, portrait: np.ndarray, packet: str, suffix: str
) -> None:
    for orientation in (2, 6, 8):
        content = contradicting(Image.fromarray(portrait), 1, packet.format(orientation), suffix)
        assert alike(decoded(content, yunet).pixels, portrait), orientation


@pytest.mark.parametrize("exif", [1, 3, 6, 8])
def test_two_other_orientations_are_settled_by_the_face_too(yunet: Yunet, portrait: np.ndarray, exif: int) -> None:
    for xmp in {1, 3, 6, 8} - {exif}:
        for right in (exif, xmp):
            content = contradicting(stored(portrait, right), exif, ATTRIBUTE.format(xmp), ".png")
            assert alike(decoded(content, yunet).pixels, portrait), (xmp, right)


def test_without_a_face_exif_stays_right(yunet: Yunet) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    content = contradicting(Image.fromarray(noise), 1, ATTRIBUTE.format(6), ".png")
    assert alike(decoded(content, yunet).pixels, noise)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("right", ["exif", "xmp"])
def test_every_command_pastes_into_the_upright_photo(
    portrait: np.ndarray, right: str, suffix: str, tiny_card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "ones.safetensors", Direction("ones", "tiny", torch.ones(8, 16), safe_range=(-2.0, 2.0)))
    (tmp_path / "change.yaml").write_text("edits: [{direction: ones, strength: 1}]")
    model, change = ("--model", tiny_card), ("--recipe", "change")
    picture = stored(portrait, 6) if right == "xmp" else Image.fromarray(portrait)
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / f"a{suffix}").write_bytes(contradicting(picture, 1, ELEMENT.format(6), suffix))
    run = tmp_path / "run"
    steps: list[tuple[object, ...]] = [
        ("align", photos, "-o", tmp_path / "aligned"),
        ("invert", photos, "-o", run, *model),
        ("edit", run, *change, "-o", tmp_path / "edited", *model),
        ("edit", photos / f"a{suffix}", *change, "-o", tmp_path / f"one{suffix}", *model),
        ("blend", run, "-o", tmp_path / "blended", "--paste"),
    ]
    for step in steps:
        done = call_here(*map(str, step), "--quiet")
        assert done.returncode == 0, done.stderr
    placed = read_placement(tmp_path / "aligned" / "aligned" / "a.json")
    assert placed.photo_size == (portrait.shape[1], portrait.shape[0])
    assert placed.orientation == (6 if right == "xmp" else 1)
    results = [
        run / f"pasted/a{suffix}",
        tmp_path / f"edited/pasted/a{suffix}",
        tmp_path / f"blended/pasted/a{suffix}",
        tmp_path / f"one{suffix}",
    ]
    for path in results:
        shown = read_photo(path)
        assert shown.disputed is None
        assert b"tiff:Orientation" not in path.read_bytes()
        assert shown.pixels.shape == portrait.shape
        outside = shown.pixels[-30:].astype(int) - portrait[-30:]  # below the crop of the face
        assert np.abs(outside).mean() < 4
