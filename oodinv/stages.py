"""What `align` and `invert` do to each photo: the stages that `batch.run` drives."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import oodinv
from oodinv.compositing.compose import compose
from oodinv.compositing.paste_back import Edit
from oodinv.delivery import write_pasted
from oodinv.errors import NoFaceError, OodinvError
from oodinv.faces.align import AlignedFace, align
from oodinv.faces.detectors.base import Detector, DetectorName
from oodinv.imaging.decode import decode_deep, decode_photo
from oodinv.imaging.encode import write_png
from oodinv.imaging.files import atomic_write, write_npz
from oodinv.imaging.photo import Photo
from oodinv.imaging.pixels import Pixels, resize_pixels, rounded, to_tensor, to_uint8
from oodinv.imaging.provenance import Provenance, SourceType, packet
from oodinv.inputs import Job
from oodinv.inverter import DTYPES, Dtype, Inversion, invert
from oodinv.manifest import Header, header_of
from oodinv.models.generators.stylegan2 import Noise
from oodinv.recipe.edit import Composition
from oodinv.weights.build import Model

Output = Literal["latents", "flows", "masks", "generated", "composites", "pasted"]
OUTPUTS: tuple[Output, ...] = get_args(Output)

NoiseName = Literal["fixed", "zero", "random"]
WhichFaces = Literal["all", "largest"]

KEPT_PIXELS = 4_000_000
"""Photos above this are decoded again for pasting rather than kept while their chunk is computed."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One face of a photo: its name below the output folders, its crop, and where that was cut out.

    crop uint8 (size, size, 3). `aligned` is None where the input was a crop already; `deep` is the same crop,
    float32 (3, size, size) in [−1, 1], where its file has 16 bits a channel.
    """

    name: str
    crop: Pixels
    aligned: AlignedFace | None
    deep: NDArray[np.float32] | None = None

    def tensor(self) -> Tensor:
        """The crop as the network sees it, float32 (3, size, size) in [−1, 1]."""
        return to_tensor(self.crop)[0] if self.deep is None else torch.from_numpy(self.deep)


@dataclass(frozen=True, eq=False)
class Portrait:
    """A photo that was read: its subjects from left to right, and what pasting back will need."""

    job: Job
    subjects: list[Subject]
    content: bytes
    photo: Photo | None

    def decoded(self) -> Photo:
        """The photo, from memory or decoded again."""
        return self.photo if self.photo is not None else decode_photo(self.content, self.job.path, deep=True)


def _cut_out(
    job: Job, pixels: Pixels, detector: Detector, size: int, crop_scale: float, which: WhichFaces
) -> list[Subject]:
    """The faces of a photo from left to right; several get the numbers 0, 1, … after the photo's name."""
    try:
        faces = align(pixels, detector, size, crop_scale, which)
    except NoFaceError as error:
        raise NoFaceError(f"{job.path}: {error}") from error
    if len(faces) == 1:
        return [Subject(job.name, faces[0].crop, faces[0])]
    return [Subject(f"{job.name}.{n}", face.crop, face) for n, face in enumerate(faces)]


def _write_aligned(subject: Subject, folder: Path) -> Iterator[str]:
    yield (output := f"aligned/{subject.name}.png")
    write_png(folder / output, subject.crop, packet(Provenance()))
    if subject.aligned is not None:
        yield (output := f"aligned/{subject.name}.json")
        text = subject.aligned.to_json()
        atomic_write(folder / output, lambda file: file.write(text.encode()))


@dataclass(frozen=True)
class AlignStages:
    """Finds faces and writes their crops."""

    detector: Detector
    size: int
    crop_scale: float
    faces: WhichFaces

    def read(self, job: Job, content: bytes) -> list[Subject]:
        """Decodes a photo and cuts out its faces.

        Raises:
            ImageError: no readable picture. NoFaceError: no face in it.
        """
        pixels = decode_photo(content, job.path).pixels
        return _cut_out(job, pixels, self.detector, self.size, self.crop_scale, self.faces)

    def compute(self, photos: list[list[Subject]]) -> list[list[Subject]]:
        """Nothing more to do."""
        return photos

    def write(self, results: list[Subject], folder: Path) -> list[str]:
        """Writes crops and their geometry."""
        return [output for subject in results for output in _write_aligned(subject, folder)]


def align_header(stages: AlignStages, detector: DetectorName) -> Header:
    """Header of the manifest of an `align` run."""
    settings = {
        "size": stages.size,
        "crop_scale": stages.crop_scale,
        "faces": stages.faces,
        "detector": detector,
    }
    return Header(oodinv.__version__, "align", {}, {}, settings)


@dataclass(frozen=True, eq=False)
class Artefacts:
    """One face's results as they are stored; `flows` holds flow_S, mask_S, mask and an edit's movement by name."""

    subject: Subject
    w_plus: NDArray[np.float32]
    flows: dict[str, NDArray[np.floating]]
    mask: Pixels
    generated: Pixels
    composite: Pixels

    def coloured(self, colour: float) -> Pixels:
        """The composite with so much of the colour and light given back that the generator lost, in [0, 1]."""
        if colour == 0:
            return self.composite
        crop, generated, mask = (a.astype(np.float32) for a in (self.subject.crop, self.generated, self.flows["mask"]))
        return rounded(compose(crop, generated, mask, Composition(colour=colour)))


@dataclass(frozen=True, eq=False)
class Inverted:
    """A photo's results: one set of artefacts a face."""

    portrait: Portrait
    artefacts: list[Artefacts]


def saved_alignments(inversion: Inversion) -> dict[str, NDArray[np.floating]]:
    """Flows (B, 2, S, S) and masks (B, 1, S, S) of a batch by the names under which they are saved."""
    return {
        key: value.float().cpu().numpy()
        for size, alignment in inversion.alignments.items()
        for key, value in ((f"flow_{size}", alignment.flow), (f"mask_{size}", alignment.mask))
    }


def artefacts(subjects: list[Subject], inversion: Inversion) -> list[Artefacts]:
    """Splits a batch's inversion into one set of artefacts for each of its subjects."""
    generated = to_uint8(inversion.generated)
    composite = to_uint8(inversion.composite)
    mask = inversion.mask[:, 0].float().cpu().numpy()
    w_plus = inversion.w_plus.float().cpu().numpy()
    fields = saved_alignments(inversion)
    return [
        Artefacts(
            subject=subject,
            w_plus=w_plus[i],
            flows={**{key: value[i] for key, value in fields.items()}, "mask": mask[i].astype(np.float16)},
            mask=np.rint(mask[i] * 255).astype(np.uint8),
            generated=generated[i],
            composite=composite[i],
        )
        for i, subject in enumerate(subjects)
    ]


T = TypeVar("T")
R = TypeVar("R")


def in_halves(faces: list[T], compute: Callable[[list[T]], list[R]], device: torch.device, size: int) -> list[R]:
    """A batch's results, or those of its halves one after the other where memory is too small for it.

    size: of the model's pictures, to name it.

    Raises:
        OodinvError: memory is too small for one face.
    """
    found = _attempt(faces, compute)
    if found is not None:
        return found
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if len(faces) == 1:
        raise OodinvError(
            f"{device} has too little memory for a single face of {size} px; use --dtype bfloat16 or --device cpu, or "
            "free memory"
        )
    half = len(faces) // 2
    return in_halves(faces[:half], compute, device, size) + in_halves(faces[half:], compute, device, size)


def _attempt(faces: list[T], compute: Callable[[list[T]], list[R]]) -> list[R] | None:
    """A batch's results; None if memory doesn't suffice, with all that was allocated let go."""
    try:
        return compute(faces)
    except RuntimeError as error:  # on the CPU, PyTorch has no class of its own for it
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
    return None


@dataclass(frozen=True)
class InvertStages:
    """Aligns, inverts and composites photos, and pastes the result back.

    `detector` is None where inputs are crops already. `save` says which artefacts are written beside the crops;
    `colour`, which share of the photo's colour and light a pasted composite gets back.
    """

    model: Model
    device: torch.device
    dtype: Dtype
    detector: Detector | None
    noise: NoiseName
    batch_size: int
    save: frozenset[Output]
    colour: float = 1.0

    def read(self, job: Job, content: bytes) -> Portrait:
        """Decodes a photo and cuts out its faces, or takes it as a crop.

        Raises:
            ImageError: no readable picture. NoFaceError: no face in it.
        """
        pasting = "pasted" in self.save and self.detector is not None
        photo = decode_photo(content, job.path, deep=pasting)
        card = self.model.card
        if self.detector is None:
            crop = resize_pixels(photo.pixels, card.size)
            return Portrait(job, [Subject(job.name, crop, None, decode_deep(content, card.size))], b"", None)
        subjects = _cut_out(job, photo.pixels, self.detector, card.size, card.crop.scale, "all")
        small = photo.pixels.size // 3 <= KEPT_PIXELS
        return Portrait(job, subjects, content if pasting else b"", photo if pasting and small else None)

    def compute(self, photos: list[Portrait]) -> list[Inverted]:
        """Inverts the faces of several photos in batches of `batch_size`."""
        subjects = [subject for photo in photos for subject in photo.subjects]
        done: list[Artefacts] = []
        for start in range(0, len(subjects), self.batch_size):
            done += self._invert(subjects[start : start + self.batch_size])
        results = iter(done)
        return [Inverted(photo, [next(results) for _ in photo.subjects]) for photo in photos]

    def _invert(self, subjects: list[Subject]) -> list[Artefacts]:
        """Inverts a batch, or its halves one after the other where memory is too small for it.

        Noise follows each face, so the halves differ from the whole by the rounding of other kernels at most.

        Raises:
            OodinvError: memory is too small for one face.
        """
        return in_halves(subjects, self._batch, self.device, self.model.card.size)

    def _batch(self, subjects: list[Subject]) -> list[Artefacts]:
        crops = torch.stack([subject.tensor() for subject in subjects]).to(self.device)
        inversion = invert(self.model, crops, noise=self._noise(subjects), dtype=DTYPES[self.dtype])
        return artefacts(subjects, inversion)

    def _noise(self, subjects: list[Subject]) -> Noise:
        """For `random`, one generator a face, seeded by its crop, so that a repeated run draws the same."""
        if self.noise != "random":
            return self.noise
        digests = [hashlib.sha256(subject.crop.tobytes()).digest() for subject in subjects]
        return tuple(torch.Generator().manual_seed(int.from_bytes(digest[:7], "little")) for digest in digests)

    def write(self, results: Inverted, folder: Path) -> list[str]:
        """Writes what `save` asks for.

        Raises:
            ImageError, OutputError: a file can't be written.
        """
        made = Provenance(model=self.model.card.name)
        outputs = []
        for a in results.artefacts:
            outputs += [*_write_aligned(a.subject, folder), *write_artefacts(a, folder, self.save, made)]
        if "pasted" in self.save and self.detector is not None:
            outputs.append(self._write_pasted(results, folder, made))
        return outputs

    def _write_pasted(self, results: Inverted, folder: Path, made: Provenance) -> str:
        photo = results.portrait.decoded()
        edits = [
            Edit(a.subject.aligned.quad, a.subject.crop, a.coloured(self.colour))
            for a in results.artefacts
            if a.subject.aligned is not None
        ]
        return write_pasted(photo, edits, folder, results.portrait.job.name, made)


def write_artefacts(a: Artefacts, folder: Path, save: frozenset[Output], made: Provenance) -> Iterator[str]:
    """Writes what `save` asks for of one face, pictures with their provenance; yields paths as they are written.

    Raises:
        ImageError, OutputError: a file can't be written.
    """
    name = a.subject.name
    if "latents" in save:
        yield (output := f"latents/{name}.npz")
        write_npz(folder / output, w_plus=a.w_plus)
    if "flows" in save:
        yield (output := f"flows/{name}.npz")
        write_npz(folder / output, **a.flows)
    pictures: tuple[tuple[Output, Pixels, SourceType], ...] = (
        ("masks", a.mask, "trainedAlgorithmicMedia"),
        ("generated", a.generated, "trainedAlgorithmicMedia"),
        ("composites", a.composite, "compositeWithTrainedAlgorithmicMedia"),
    )
    for wanted, pixels, source in pictures:
        if wanted in save:
            yield (output := f"{wanted}/{name}.png")
            write_png(folder / output, pixels, packet(replace(made, source=source)))


def invert_header(stages: InvertStages, detector: DetectorName) -> Header:
    """Header of the manifest of an `invert` run: the card, its files' sha256, and what changes results."""
    settings = {
        "aligned": stages.detector is None,
        "detector": None if stages.detector is None else detector,
        "noise": stages.noise,
        "dtype": stages.dtype,
        "save": [name for name in OUTPUTS if name in stages.save],
        "colour": stages.colour,
    }
    return header_of("invert", stages.model, settings)
