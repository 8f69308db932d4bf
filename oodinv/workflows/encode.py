"""Faces for fitting directions: encoded from photos, or read from an output folder of `invert`."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from oodinv.directions import measures
from oodinv.directions.faces import MeasuredFace
from oodinv.errors import OodinvError, RecipeError
from oodinv.faces.align import align, read_landmarks
from oodinv.faces.detectors.base import Detector
from oodinv.faces.detectors.face_alignment import face_of_68
from oodinv.faces.geometry import REGIONS
from oodinv.faces.selection import LARGEST
from oodinv.imaging.decode import read_photo
from oodinv.imaging.pixels import Pixels, to_tensor
from oodinv.inversion import encode
from oodinv.runs import manifest
from oodinv.runs.pipeline import read_bytes
from oodinv.runs.results import read_latents
from oodinv.runs.sources.base import Job
from oodinv.weights.build import Model, Role
from oodinv.workflows.align import decode_upright

HELD_OUT_SHARE = 10
"""One face in this many, chosen by the hash of its file, is held out of the fit and used to evaluate it."""

BATCH = 32

CODE_ROLES: tuple[Role, ...] = ("generator", "encoder")
"""Roles of the weight files that latent codes depend on."""


@dataclass(frozen=True)
class SkippedFace:
    """A file without a usable face, and the reason."""

    file: str
    reason: str


def _is_held_out(content: bytes) -> bool:
    return hashlib.sha256(content).digest()[1] % HELD_OUT_SHARE == 0


def sample(jobs: list[Job], limit: int | None) -> list[Job]:
    """Selects at most `limit` jobs by the hash of their names: a reproducible sample of the whole folder."""
    if limit is None or len(jobs) <= limit:
        return jobs
    return sorted(jobs, key=lambda job: hashlib.sha256(job.path.name.encode(errors="replace")).digest())[:limit]


# --- from photos -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Crop:
    file: str
    pixels: Pixels
    measures: dict[str, float]
    held_out: bool


def encode_photos(model: Model, jobs: list[Job], detector: Detector) -> Iterator[MeasuredFace | SkippedFace]:
    """Yields the largest face of each photo, cropped for the model and encoded, in order."""
    waiting: list[_Crop] = []
    for job in jobs:
        try:
            waiting.append(_cut_out(model, job, detector))
        except OodinvError as error:
            yield SkippedFace(str(job.path), str(error))
        if len(waiting) == BATCH:
            yield from _encoded(model, waiting)
            waiting = []
    if waiting:
        yield from _encoded(model, waiting)


def _cut_out(model: Model, job: Job, detector: Detector) -> _Crop:
    content = read_bytes(job.path)
    card = model.card
    photo = decode_upright(job, content, detector)
    face = align(photo.pixels, detector, card.size, card.crop.quad, LARGEST).faces[0]
    measured = measures.of_points(face.face.points) | measures.of_crop(face.crop, card.crop.scale)
    return _Crop(job.name + job.path.suffix, face.crop, measured, _is_held_out(content))


def _encoded(model: Model, crops: list[_Crop]) -> Iterator[MeasuredFace]:
    device = model.generator.w_avg.device
    batch = torch.cat([to_tensor(crop.pixels) for crop in crops]).to(device)
    w_plus = encode(model, batch).w_plus.float().cpu().numpy()
    for crop, code in zip(crops, w_plus, strict=True):
        yield MeasuredFace(crop.file, code, crop.measures, crop.held_out)


# --- from outputs of `invert` ----------------------------------------------------------------------------


def is_inverted(folder: Path) -> bool:
    """True if a folder is the output of `oodinv invert`."""
    return (folder / manifest.FILE_NAME).is_file() and (folder / "latents").is_dir()


def read_inverted(model: Model, folder: Path) -> Iterator[MeasuredFace | SkippedFace]:
    """Yields the faces of an output folder of `oodinv invert`.

    Raises:
        RecipeError: the folder was made with another model or other weights.
        ManifestError: its manifest can't be read.
    """
    found = manifest.read(folder)
    if found is None:
        raise RecipeError(f"{folder}: has no {manifest.FILE_NAME}; name an output folder of `oodinv invert`")
    header, entries = found
    if any(header.weights.get(role) != model.sha256[role] for role in CODE_ROLES):
        raise RecipeError(
            f"{folder}: its latents were made by {header.card.get('name')} with other weights than those of "
            f"{model.card.name}; invert the photos again, or name the --model that made them"
        )
    for entry in entries.values():
        outputs = [output for output in entry.outputs if output.startswith("latents/")]
        for output in outputs:
            name = output.removeprefix("latents/").removesuffix(".npz")
            file = name + Path(entry.input).suffix  # with several faces, NAME.N rather than NAME
            try:
                yield _read_face(model, folder, name, file, entry.sha256 or "")
            except OodinvError as error:
                yield SkippedFace(name, str(error))


def _read_face(model: Model, folder: Path, name: str, file: str, sha256: str) -> MeasuredFace:
    path = folder / "latents" / f"{name}.npz"
    w_plus = read_latents(path, model.code_shape)
    crop = read_photo(folder / "aligned" / f"{name}.png").pixels
    measured = measures.of_crop(crop, model.card.crop.scale) | _placed_measures(folder / "aligned" / f"{name}.json")
    held_out = bool(sha256) and bytes.fromhex(sha256)[1] % HELD_OUT_SHARE == 0
    return MeasuredFace(file, w_plus, measured, held_out)


def _placed_measures(path: Path) -> dict[str, float]:
    """Measures the landmarks that `invert` saved; empty if the inputs were crops."""
    if not path.is_file():
        return {}
    points = read_landmarks(path)
    return measures.of_points(points if len(points) == 5 else face_of_68(points, 1.0).points)


# --- cache -----------------------------------------------------------------------------------------------


def cache_key(model: Model, jobs: list[Job]) -> str:
    """Returns a cache key for `encode_photos`: a hash of the model's files and crop, and of the photos' names, sizes
    and modification times.
    """
    digest = hashlib.sha256(f"{model.card.size}:{model.card.crop.scale}:{REGIONS}".encode())
    for role in CODE_ROLES:
        digest.update(model.sha256[role].encode())
    for job in jobs:
        stat = job.path.stat()
        digest.update(f"{job.name}{job.path.suffix}:{stat.st_size}:{stat.st_mtime_ns}\n".encode(errors="replace"))
    return digest.hexdigest()[:24]
