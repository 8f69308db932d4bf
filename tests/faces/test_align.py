"""Detection and alignment on real photos, and what surrounds them on built ones."""

import csv
import json
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tolerances import FLOAT64

from oodinv.directions import measures
from oodinv.errors import ImageError, MissingWeights, NoFaceError, WeightsError
from oodinv.faces.align import AlignedFace, align, read_placement
from oodinv.faces.crop import crop
from oodinv.faces.detectors import face_alignment
from oodinv.faces.detectors.base import Face
from oodinv.faces.detectors.face_alignment import face_of_68
from oodinv.faces.detectors.yunet import Yunet, as_ffhq
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.quads import quad_side, square, transform
from oodinv.faces.selection import LARGEST
from oodinv.imaging.decode import read_photo
from oodinv.imaging.pixels import resize_pixels
from oodinv.weights.catalog import named
from oodinv.weights.pull import pull

ROOT = Path(__file__).resolve().parents[2]

# Eyes, nose and mouth corners of a typical face, in units of the FFHQ square, which is the unit square here.
TYPICAL = np.array([[0.375, 0.475], [0.625, 0.475], [0.5, 0.61], [0.395, 0.72], [0.605, 0.72]])


@pytest.fixture(scope="module")
def yunet() -> Yunet:
    return Yunet(pull("yunet"))


def resized(pixels: np.ndarray, side: int) -> np.ndarray:
    photo = Image.fromarray(pixels)
    photo.thumbnail((side, side))
    return np.asarray(photo)


def found(yunet: Yunet, pixels: np.ndarray) -> list[tuple[bytes, float]]:
    return [(face.landmarks.tobytes(), face.score) for face in yunet.detect(pixels)]


def corner_error(quad: np.ndarray, ideal: np.ndarray) -> float:
    """Mean distance of the corners as a share of the ideal's side."""
    return float(np.hypot(*(quad - ideal).T).mean()) / quad_side(ideal)


def frame(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    return np.array([[0, 0], [0, height], [width, height], [width, 0]], dtype=np.float64)


def test_aligned_photos_align_to_themselves(yunet: Yunet, shared: Path) -> None:
    errors = []
    for path in sorted((shared / "photos/aligned1024").iterdir())[::2]:
        pixels = read_photo(path).pixels
        errors.append(corner_error(align(pixels, yunet, 64, ffhq_quad, LARGEST).faces[0].quad, frame(pixels)))
    assert np.median(errors) <= 0.034
    assert max(errors) <= 0.12


def test_corners_of_the_mouth_follow_a_mouth(yunet: Yunet, shared: Path) -> None:
    """Against its width by MediaPipe's landmarks; points seen in small copies of the face hardly follow (0.4)."""
    with (ROOT / "recipes/directions/utk-mouths.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::60]
    seen = [measures.of_largest(yunet, read_photo(shared / "faces/utk" / row["file"]).pixels) for row in rows]
    widths = [(found["smile"], float(row["mouth_width"])) for found, row in zip(seen, rows, strict=True) if found]
    assert len(widths) > 45
    assert np.corrcoef(np.transpose(widths))[0, 1] > 0.6


def test_a_grid_of_nine_faces_gives_nine_from_left_to_right(yunet: Yunet, shared: Path) -> None:
    pixels = read_photo(shared / "photos/unaligned/aflw-test-grid3x3.jpg").pixels
    faces = align(pixels, yunet, 64, ffhq_quad).faces
    assert len(faces) == 9
    columns = [face.quad[:, 0].mean() for face in faces]
    assert columns == sorted(columns)
    tiles = {tuple((face.quad.mean(axis=0) // 450).astype(int)) for face in faces}
    assert tiles == {(column, row) for column in range(3) for row in range(3)}
    # The nine tiles show one photo, so the crops must show one face.
    crops = np.stack([face.crop for face in faces]).astype(np.float64)
    assert np.abs(crops - crops.mean(axis=0)).mean() < 3


def test_a_picture_of_grass_has_no_face(yunet: Yunet, shared: Path) -> None:
    pixels = read_photo(shared / "photos/unaligned/grass.jpg").pixels
    with pytest.raises(NoFaceError, match="--detector"):
        align(pixels, yunet, 64, ffhq_quad)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_photos_give_the_same_crop(turns: int, yunet: Yunet, shared: Path) -> None:
    pixels = read_photo(shared / "photos/unaligned/face_image.jpg").pixels
    upright = align(pixels, yunet, 64, ffhq_quad, LARGEST).faces[0]
    turned = align(np.ascontiguousarray(np.rot90(pixels, turns)), yunet, 64, ffhq_quad, LARGEST).faces[0]
    assert np.abs(turned.crop.astype(int) - upright.crop).mean() < 10


@pytest.mark.parametrize("turn", [-60, 30])
def test_tilted_faces_come_out_upright(turn: int, yunet: Yunet, shared: Path) -> None:
    pixels = read_photo(shared / "photos/unaligned/face_image.jpg").pixels
    upright = align(pixels, yunet, 64, ffhq_quad, LARGEST).faces[0]
    angle = np.radians(turn)
    height, width = pixels.shape[:2]
    canvas = square(np.array([width, height]) / 2, 480 * np.array([np.cos(angle), np.sin(angle)]))
    tilted = align(crop(pixels, canvas, 1000), yunet, 64, ffhq_quad, LARGEST).faces[0]
    back = np.column_stack([(canvas[3] - canvas[0]) / 1000, (canvas[1] - canvas[0]) / 1000, canvas[0]])
    assert corner_error(transform(back, tilted.quad), upright.quad) < 0.1


def test_faces_of_tiny_photos_are_found_in_their_place(yunet: Yunet, shared: Path) -> None:
    for path in sorted((shared / "faces/celeba").iterdir())[:400:40]:
        faces = align(read_photo(path).pixels, yunet, 64, ffhq_quad).faces
        # CelebA aligns its photos, so that the face is always in the same place.
        assert min(np.abs(face.quad.mean(axis=0) - (44.5, 58)).max() for face in faces) < 12


def test_a_small_face_in_a_large_photo_is_found(yunet: Yunet, shared: Path) -> None:
    face = resize_pixels(read_photo(shared / "photos/aligned1024/00001.jpg").pixels, 160)
    photo = np.full((3000, 4000, 3), 120, np.uint8)
    photo[2000:2160, 3000:3160] = face
    found = align(photo, yunet, 64, ffhq_quad).faces
    assert len(found) == 1
    assert corner_error(found[0].quad, frame(face) + np.array([3000, 2000])) < 0.08


def test_threads_share_a_detector(yunet: Yunet, shared: Path) -> None:
    photos = [read_photo(path).pixels for path in sorted((shared / "faces/celeba").iterdir())[:6]]
    alone = [yunet.detect(pixels)[0].points for pixels in photos]
    with ThreadPoolExecutor(4) as pool:
        together = [faces[0].points for faces in pool.map(yunet.detect, photos)]
    np.testing.assert_array_equal(together, alone)


def test_threads_see_what_one_sees(yunet: Yunet, samples: Path) -> None:
    """Bit for bit, in any order of photos, that is of picture sizes, and beside others."""
    paths = [path for path in sorted(samples.iterdir()) if path.suffix != ".md"][:3]
    photos = [resized(read_photo(path).pixels, side) for path, side in zip(paths, (150, 220, 333), strict=True)]
    alone = [found(yunet, pixels) for pixels in photos]
    order = [0, 2, 1, 2, 0, 1]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda n: found(yunet, photos[n]), order))
    assert together == [alone[n] for n in order]


def test_threads_have_networks_of_their_own(yunet: Yunet) -> None:
    blank = np.zeros((64, 64, 3), np.uint8)
    barrier = threading.Barrier(2, timeout=60)

    def network(_: int) -> int:
        yunet.detect(blank)
        barrier.wait()
        return id(yunet._own.network)

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(network, range(2)))) == 2


def test_a_command_fixes_how_work_is_split() -> None:
    """Else OpenCV splits loops or not as other threads' timing has it."""
    script = (
        "import cv2; from oodinv.cli.prepare import choose_device; cv2.setNumThreads(4); choose_device('cpu'); "
        "print(cv2.getNumThreads())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.onnx").write_text("no network")
    for path in (tmp_path / "words.onnx", tmp_path / "missing.onnx"):
        with pytest.raises(WeightsError, match=r"\.onnx.*pull the weights again"):
            Yunet(path)


def test_correction_is_symmetric_bounded_and_small_for_typical_faces() -> None:
    def mirrored(points: np.ndarray) -> np.ndarray:
        return points[[1, 0, 2, 4, 3]] * (-1, 1)

    moved = TYPICAL + np.array([[0, 0], [0.01, 0.02], [0.05, 0], [0, 0.01], [0.02, 0]])
    np.testing.assert_allclose(as_ffhq(mirrored(moved)), mirrored(as_ffhq(moved)), atol=FLOAT64)
    assert corner_error(ffhq_quad(as_ffhq(TYPICAL)), ffhq_quad(TYPICAL)) < 0.02
    profile = TYPICAL * (0.2, 1)
    assert corner_error(ffhq_quad(as_ffhq(profile)), ffhq_quad(profile)) < 0.1


class FixedDetector:
    """Reports faces at given places and sizes."""

    def __init__(self, *places: tuple[float, float, float]) -> None:
        self.places = places

    def detect(self, pixels: np.ndarray) -> list[Face]:
        assert pixels.ndim == 3
        return [Face(TYPICAL * size + (x, y), TYPICAL, 0.9, "yunet") for x, y, size in self.places]


def test_the_largest_face_or_all_are_returned() -> None:
    photo = np.zeros((200, 300, 3), np.uint8)
    detector = FixedDetector((10, 20, 50), (120, 30, 100))
    assert len(align(photo, detector, 32, ffhq_quad).faces) == 2
    (largest,) = align(photo, detector, 32, lambda points: ffhq_quad(points, 0.8), LARGEST).faces
    assert largest.crop.shape == (32, 32, 3)
    assert largest.photo_size == (300, 200)
    np.testing.assert_allclose(quad_side(largest.quad), 80, rtol=1e-6)


def test_placement_survives_json(tmp_path: Path) -> None:
    quad = np.random.default_rng(0).normal(size=(4, 2)) * 1000
    face = AlignedFace(np.zeros((8, 8, 3), np.uint8), quad, Face(TYPICAL, TYPICAL, 0.93, "yunet"), (640, 480))
    (tmp_path / "a.json").write_text(face.to_json())
    placement = read_placement(tmp_path / "a.json")
    np.testing.assert_array_equal(placement.quad, quad)
    assert placement.photo_size == (640, 480)
    record = json.loads(face.to_json())
    assert set(record) == {"quad", "landmarks", "score", "detector", "photo_size", "cut_off"}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"quad": [[0, 0]], "photo_size": [5, 5]}', '{"quad": [[NaN, 0]], "photo_size": [5, 5]}'],
)
def test_bad_placements_are_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ImageError, match=r"a\.json: expected what `oodinv align` writes"):
        read_placement(path)


def landmarks68() -> np.ndarray:
    """68 points of which only those that define the crop are in their places, as a detector counts pixels."""
    points = np.zeros((68, 2))
    points[36:42] = TYPICAL[0] + np.array([[-2, 0], [-1, -1], [1, -1], [2, 0], [1, 1], [-1, 1]]) * 0.01
    points[42:48] = TYPICAL[1] + np.array([[-2, 0], [-1, -1], [1, -1], [2, 0], [1, 1], [-1, 1]]) * 0.01
    points[30], points[48], points[54] = TYPICAL[2:]
    return points * 400 - 0.5


def test_68_landmarks_give_the_ffhq_crop() -> None:
    np.testing.assert_allclose(face_of_68(landmarks68(), 0.9).points, TYPICAL * 400)


class StandIn:
    """The part of the face-alignment package that is used, with one large face and one that is uncertain."""

    def __init__(self, landmarks_type: int, device: str, compile: bool) -> None:
        assert (landmarks_type, device, compile) == (1, "cpu", False)
        found = {path.name: path.read_bytes() for path in (Path(torch.hub.get_dir()) / "checkpoints").iterdir()}
        assert found == {"s3fd-619a316812.pth": b"s3fd", "2DFAN4-11f355bf06.pth.tar": b"fan-2d"}
        self.face_detector = self

    def detect_from_image(self, overview: np.ndarray) -> list[np.ndarray]:
        self.longest = max(overview.shape)
        return [np.array([10.0, 20.0, 110.0, 120.0, 0.99]), np.array([0.0, 0.0, 9.0, 9.0, 0.2])]

    def get_landmarks_from_image(self, pixels: np.ndarray, detected_faces: list[np.ndarray]) -> list[np.ndarray]:
        scale = max(pixels.shape) / self.longest
        np.testing.assert_allclose(detected_faces, [[10 * scale, 20 * scale, 110 * scale, 120 * scale, 0.99]])
        return [landmarks68()]


def damaged(*_: object, **__: object) -> None:
    raise RuntimeError("PytorchStreamReader failed")


@pytest.fixture
def fetch(tmp_path: Path) -> Callable[[str], Path]:
    """A cache with the files that the catalog names, with their names as their content."""

    def fetched(name: str) -> Path:
        path = tmp_path / named(name).file
        path.write_bytes(name.encode())
        return path

    return fetched


def install(monkeypatch: pytest.MonkeyPatch, make: object) -> None:
    module = types.ModuleType("face_alignment")
    vars(module).update(FaceAlignment=make, LandmarksType=types.SimpleNamespace(TWO_D=1))
    monkeypatch.setitem(sys.modules, "face_alignment", module)


def test_face_alignment_searches_a_bounded_copy_with_the_networks_of_the_catalog(
    monkeypatch: pytest.MonkeyPatch, fetch: Callable[[str], Path]
) -> None:
    install(monkeypatch, StandIn)
    before = torch.hub.get_dir()
    (face,) = face_alignment.load(fetch, "cpu").detect(np.zeros((1200, 1920, 3), np.uint8))
    assert torch.hub.get_dir() == before
    assert face.detector == "face-alignment"
    assert face.landmarks.shape == (68, 2)
    np.testing.assert_allclose(face.points, TYPICAL * 400)


def test_face_alignment_offline_names_the_other_detector() -> None:
    def offline(name: str) -> Path:
        raise MissingWeights(f"{name}: can't be fetched")

    with pytest.raises(MissingWeights, match="s3fd: can't be fetched; or use --detector yunet"):
        face_alignment.load(offline, "cpu")


def test_damaged_networks_of_face_alignment_are_named(
    monkeypatch: pytest.MonkeyPatch, fetch: Callable[[str], Path]
) -> None:
    install(monkeypatch, damaged)
    with pytest.raises(WeightsError, match=r"s3fd-619a316812\.pth.*--detector yunet"):
        face_alignment.load(fetch, "cpu")


def test_the_package_itself_takes_the_files_and_fetches_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With networks of random weights in place of the published ones, which are not to be had everywhere."""
    package = pytest.importorskip("face_alignment")
    s3fd = pytest.importorskip("face_alignment.detection.sfd.net_s3fd").s3fd
    files = {"s3fd": s3fd().state_dict(), "fan-2d": package.models.FAN(4).state_dict()}
    for name, state in files.items():
        torch.save(state, tmp_path / named(name).file)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was to be downloaded")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    detector = face_alignment.load(lambda name: tmp_path / named(name).file, "cpu")
    found = detector.detect(np.zeros((64, 64, 3), np.uint8))  # of random networks, so any number of faces
    assert all(face.points.shape == (5, 2) for face in found)
