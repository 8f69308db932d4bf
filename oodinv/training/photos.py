"""Decodes the photos of a folder into a memory-mapped array of aligned crops, split by the hash of each file."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from oodinv.errors import ImageError, OutputError, RecipeError
from oodinv.faces.align import align
from oodinv.faces.crop import crop, square_crop
from oodinv.faces.detectors.base import Detector
from oodinv.faces.quads import scale_quad
from oodinv.faces.selection import LARGEST
from oodinv.imaging.decode import decode_photo
from oodinv.imaging.files import readable, write_text
from oodinv.imaging.pixels import Pixels
from oodinv.recipe.train import FaceFolder
from oodinv.runs.collect import collect
from oodinv.training.data import Faces, UnusablePhoto

HELD_OUT_SHARE = 20
"""One file in this many is held out."""
UNLABELLED = 255
"""Level of a label map where nothing is known."""
AHEAD = 32
"""Photos that are decoded before they are written."""


@dataclass(frozen=True, eq=False)
class DecodedPhoto:
    """The crops of a photo's face, uint8 (K, size, size, 3 or 4), and a flag for held-out photos."""

    crops: Pixels
    held_out: bool


def is_held_out(content: bytes) -> bool:
    """True if a file with this content is held out; depends on nothing else."""
    return hashlib.sha256(content).digest()[0] % HELD_OUT_SHARE == 0


def list_images(folder: Path) -> tuple[list[Path], list[UnusablePhoto]]:
    """Lists the image files below a folder, sorted, and those of unsupported types; system folders are left out.

    Raises:
        RecipeError: the folder is missing. ImageError: it holds no image, or results of oodinv other than crops.
    """
    if not folder.is_dir():
        raise RecipeError(f"there is no folder {folder} to train on; name yours with --data FOLDER")
    jobs = sorted(collect([folder]), key=lambda job: job.path)
    unsupported = [UnusablePhoto(str(job.path), job.unsupported) for job in jobs if job.unsupported is not None]
    return [job.path for job in jobs if job.unsupported is None], unsupported


def decode(content: bytes, path: Path, data: FaceFolder, detector: Detector | None) -> Pixels:
    """Crops a photo's largest face at the model's scale and at `more_scales`. → uint8 (1 + K, size, size, 3)

    detector: None for photos that are square crops already; they are resized. With labels there is a fourth channel
    for them.

    Raises:
        ImageError: not a readable picture, no face in it, a crop that isn't square, or a label map that can't be read.
    """
    pixels = decode_photo(content, path).pixels
    if detector is None:
        resized = square_crop(pixels, data.size, path)
        return (resized if data.labels is None else np.dstack([resized, read_labels(path, data)]))[None]
    face = align(pixels, detector, data.size, data.crop.quad, LARGEST).faces[0]
    others = [crop(pixels, scale_quad(face.quad, scale / data.crop.scale), data.size) for scale in data.more_scales]
    return np.stack([face.crop, *others])


def label_file(path: Path, folder: str, labels: str) -> Path:
    """Path of the label map of a crop in the folder `folder`: the same path below `labels`, as PNG."""
    return (Path(labels) / path.relative_to(folder)).with_suffix(".png")


def read_labels(path: Path, data: FaceFolder) -> Pixels:
    """Reads the label map of a crop, uint8 (size, size); `UNLABELLED` all over for a crop without one.

    Raises:
        ImageError: the file can't be read, or isn't grey.
    """
    assert data.labels is not None
    file = label_file(path, data.folder, data.labels)
    if not file.is_file():
        return np.full((data.size, data.size), UNLABELLED, np.uint8)
    try:
        with Image.open(file) as picture:
            if picture.mode not in ("L", "P"):
                raise ImageError(f"{file}: has mode {picture.mode}, and a label map has one 8-bit channel; convert it")
            return np.array(picture.resize((data.size, data.size), Image.Resampling.NEAREST))
    except (OSError, SyntaxError) as error:
        raise ImageError(f"{file}: can't be read as a label map ({error})") from error


def decode_all(
    paths: list[Path], data: FaceFolder, detector: Detector | None
) -> Iterator[DecodedPhoto | UnusablePhoto]:
    """Decodes photos on several threads, in order; for held-out ones only the crop at the model's scale."""

    def one(path: Path) -> DecodedPhoto | UnusablePhoto:
        try:
            content = path.read_bytes()
            crops = decode(content, path, data, detector)
        except (ImageError, OSError) as error:
            return UnusablePhoto(str(path), str(error))
        held_out = is_held_out(content)
        return DecodedPhoto(crops[:1] if held_out else crops, held_out)

    rest = iter(paths)
    with ThreadPoolExecutor() as pool:
        while some := list(islice(rest, AHEAD)):  # bounds the memory of what waits to be written
            yield from pool.map(one, some)


@dataclass(frozen=True)
class FaceCache:
    """The decoded faces of a folder: crops.npy, and index.json, which is written last.

    folder: its name is a hash of the photos' paths, sizes and times, and of how they are cropped. unsupported: files
    beside the photos that can't be read.
    """

    data: FaceFolder
    paths: list[Path]
    unsupported: list[UnusablePhoto]
    folder: Path

    @classmethod
    def of(cls, data: FaceFolder, parent: Path) -> "FaceCache":
        """The cache of a training folder, in a folder of its own below `parent`; nothing is read or written.

        Raises:
            RecipeError, ImageError: see `list_images`. RecipeError also if no crop has its label map.
        """
        paths, unsupported = list_images(Path(data.folder))
        labels = [] if data.labels is None else [label_file(path, data.folder, data.labels) for path in paths]
        if labels and not any(file.is_file() for file in labels):
            raise RecipeError(
                f"{data.labels}: has no label map of a crop of {data.folder}, such as {labels[0]}; correct data.labels"
            )
        named = data.model_copy(
            update={"folder": readable(data.folder), "labels": data.labels and readable(data.labels)}
        )
        digest = hashlib.sha256(f"{named.model_dump_json(exclude={'flip'})}:{HELD_OUT_SHARE}".encode())
        for path in paths:
            stat = path.stat()
            digest.update(f"{path}:{stat.st_size}:{stat.st_mtime_ns}".encode(errors="surrogateescape"))
        for path in sorted(Path(data.labels).rglob("*.png")) if data.labels is not None else ():
            digest.update(f"{path}:{path.stat().st_mtime_ns}".encode(errors="surrogateescape"))
        return cls(data, paths, unsupported, parent / f"faces-{digest.hexdigest()[:16]}")

    @property
    def is_complete(self) -> bool:
        """True if all photos have been decoded."""
        return (self.folder / "index.json").is_file()

    def fill(self, detector: Detector | None) -> Iterator[int]:
        """Decodes all photos into the cache as a stream; yields the number of photos done.

        Raises:
            RecipeError: nothing is left to train on or to hold out.
            OutputError: the cache can't be written, for instance for lack of space.
        """
        shape = (len(self.paths) * (1 + len(self.data.more_scales)), self.data.size, self.data.size, self.data.channels)
        rows: dict[bool, list[int]] = {False: [], True: []}
        unusable, count = [*self.unsupported], 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check_space(int(np.prod(shape)))
            with (self.folder / "crops.npy").open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                start = file.tell()
                for done, photo in enumerate(decode_all(self.paths, self.data, detector), start=1):
                    if isinstance(photo, UnusablePhoto):
                        unusable.append(photo)
                    else:
                        file.write(photo.crops.tobytes())
                        rows[photo.held_out] += range(count, count + len(photo.crops))
                        count += len(photo.crops)
                    yield done
                file.truncate(start + int(np.prod(shape)))  # rows of unusable photos are a hole at the end
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutputError(f"{self.folder}: can't be written ({reason}); check the free space") from error
        if not rows[False] or not rows[True]:
            raise RecipeError(
                f"{self.data.folder} gives {len(rows[False])} training and {len(rows[True])} held-out faces, and "
                f"{len(unusable)} photos that can't be used{_first(unusable)}; add images"
            )
        index = {"train": rows[False], "held_out": rows[True], "unusable": [asdict(photo) for photo in unusable]}
        write_text(self.folder / "index.json", json.dumps(index))

    def _check_space(self, size: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise OutputError(
                f"{self.folder}: the decoded faces need {size / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; choose an "
                "--output folder with more space, or a smaller data.size"
            )

    def open(self) -> Faces:
        """Opens the complete cache; the crops are memory-mapped.

        Raises:
            OutputError: the cache is damaged.
        """
        try:
            index = json.loads((self.folder / "index.json").read_text(encoding="utf-8"))
            crops = np.load(self.folder / "crops.npy", mmap_mode="r", allow_pickle=False)
            unusable = tuple(UnusablePhoto(**photo) for photo in index["unusable"])
            faces = Faces(crops, np.array(index["train"], np.int64), np.array(index["held_out"], np.int64), unusable)
            if crops.shape[1:] != (self.data.size, self.data.size, self.data.channels) or crops.dtype != np.uint8:
                raise ValueError(f"crops have shape {crops.shape} and type {crops.dtype}")
            if not min(faces.train.min(), faces.held_out.min()) >= 0:
                raise ValueError("negative rows")
            if max(faces.train.max(), faces.held_out.max()) >= len(crops):
                raise ValueError("rows beyond the crops")
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise OutputError(
                f"{self.folder}: the cache of decoded faces is damaged ({error}); remove this folder, and the photos "
                "are read again"
            ) from error
        return faces


def _first(unusable: list[UnusablePhoto]) -> str:
    return f" (the first: {unusable[0].error})" if unusable else ""


def load_faces(data: FaceFolder, detector: Detector | None, parent: Path) -> Faces:
    """Opens the cached faces of a training folder; decodes the photos first if need be.

    Raises:
        RecipeError, OutputError: see `FaceCache`.
    """
    cache = FaceCache.of(data, parent)
    if not cache.is_complete:
        for _ in cache.fill(detector):
            pass
    return cache.open()
