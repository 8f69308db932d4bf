"""Training faces: aligned crops, decoded once into a cached array, split by the hash of each file."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from oodinv.errors import ImageError, RecipeError
from oodinv.faces.align import align
from oodinv.faces.crop import crop
from oodinv.faces.detectors.base import Detector
from oodinv.faces.quads import scale_quad
from oodinv.faces.selection import LARGEST
from oodinv.imaging.decode import decode_photo
from oodinv.imaging.files import write_npz
from oodinv.imaging.formats import READABLE_SUFFIXES
from oodinv.imaging.pixels import resize_pixels, to_tensor
from oodinv.recipe.train import FaceFolder

HELD_OUT_SHARE = 20
"""One file in this many is held out."""


@dataclass(frozen=True)
class Faces:
    """Crops as uint8 (N, size, size, 3) RGB, split into training and held-out ones."""

    train: NDArray[np.uint8]
    held_out: NDArray[np.uint8]


@dataclass(frozen=True)
class Sampler:
    """Draws batches without replacement, a new order each epoch; a pure function of seed and step.

    Position is the step alone, so a resumed run sees the very batches that an undisturbed one would.
    """

    count: int
    batch: int
    seed: int
    flip: bool

    def indices(self, step: int) -> NDArray[np.int64]:
        """Indices of the batch number `step`, (batch,)."""
        per_epoch = max(self.count // self.batch, 1)
        epoch, position = divmod(step, per_epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
        return order[position * self.batch : (position + 1) * self.batch]

    def draw(self, faces: NDArray[np.uint8], step: int) -> Tensor:
        """The batch number `step`: float (B, 3, S, S) in [−1, 1], half of it mirrored if `flip`."""
        batch = faces[self.indices(step)]
        if self.flip:
            mirrored = np.random.default_rng((self.seed, step, 1)).random(len(batch)) < 0.5
            batch[mirrored] = batch[mirrored, :, ::-1]
        return to_tensor(batch)


def is_held_out(content: bytes) -> bool:
    """Whether a file with this content belongs to the held-out share; depends on nothing else."""
    return hashlib.sha256(content).digest()[0] % HELD_OUT_SHARE == 0


def decode(content: bytes, path: Path, data: FaceFolder, detector: Detector | None) -> NDArray[np.uint8]:
    """A photo's largest face, cropped at the model's scale and at all others, uint8 (1 + K, size, size, 3).

    A photo that is aligned is taken whole.

    Raises:
        ImageError: not a readable picture, or no face in it.
    """
    pixels = decode_photo(content, path).pixels
    if detector is None:
        return resize_pixels(pixels, data.size)[None]
    face = align(pixels, detector, data.size, data.crop.quad, LARGEST).faces[0]
    others = [crop(pixels, scale_quad(face.quad, scale / data.crop.scale), data.size) for scale in data.more_scales]
    return np.stack([face.crop, *others])


def decode_all(
    paths: list[Path], data: FaceFolder, detector: Detector | None
) -> Iterator[tuple[NDArray[np.uint8], bool]]:
    """(crops of its face, held out) for each file that can be used, in order."""

    def one(path: Path) -> tuple[NDArray[np.uint8], bool] | None:
        try:
            content = path.read_bytes()
            return decode(content, path, data, detector), is_held_out(content)
        except (ImageError, OSError):
            return None

    with ThreadPoolExecutor() as pool:
        yield from (found for found in pool.map(one, paths) if found is not None)


def list_images(folder: Path) -> list[Path]:
    """Image files below a folder, sorted.

    Raises:
        RecipeError: the folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise RecipeError(f"there is no folder {folder} to train on; name yours with --data FOLDER")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in READABLE_SUFFIXES)
    if not paths:
        raise RecipeError(f"{folder} holds no image ({', '.join(sorted(READABLE_SUFFIXES))})")
    return paths


def _fingerprint(paths: list[Path], data: FaceFolder) -> str:
    digest = hashlib.sha256(f"{data.model_dump_json(exclude={'flip'})}:{HELD_OUT_SHARE}".encode())
    for path in paths:
        stat = path.stat()
        digest.update(f"{path}:{stat.st_size}:{stat.st_mtime_ns}".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def load_faces(data: FaceFolder, detector: Detector | None, cache: Path) -> Faces:
    """Reads the faces of a folder at the training size; later runs read the decoded copy in `cache`.

    Files that can't be read, or show no face, are left out.

    Raises:
        RecipeError: no usable image, or nothing left to train on or to hold out.
    """
    paths = list_images(Path(data.folder))
    cached = cache / f"faces-{_fingerprint(paths, data)}.npz"
    if cached.is_file():
        with np.load(cached) as arrays:
            return Faces(arrays["train"], arrays["held_out"])
    train: list[NDArray[np.uint8]] = []
    held_out: list[NDArray[np.uint8]] = []
    for crops, kept_back in decode_all(paths, data, detector):
        if kept_back:
            held_out.append(crops[0])
        else:
            train += list(crops)
    if not train or not held_out:
        raise RecipeError(f"{data.folder} gives {len(train)} training and {len(held_out)} held-out faces; add images")
    faces = Faces(np.stack(train), np.stack(held_out))
    cache.mkdir(parents=True, exist_ok=True)
    write_npz(cached, train=faces.train, held_out=faces.held_out)
    return faces


def held_out_batches(faces: Faces, batch: int, limit: int) -> list[Tensor]:
    """Held-out faces in order, at most `limit` of them, as float batches in [−1, 1]."""
    chosen = faces.held_out[:limit]
    return [to_tensor(chosen[i : i + batch]) for i in range(0, len(chosen), batch)]
