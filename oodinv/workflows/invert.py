"""The `invert` workflow: stages for `runner.run`, from photos to latents, composites and pasted photos."""

import hashlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from oodinv.compositing.compose import PARTS_KEY, compose
from oodinv.compositing.composition import Composition
from oodinv.compositing.paste_back import Patch
from oodinv.faces.crop import square_crop
from oodinv.faces.detectors.base import Detector
from oodinv.faces.parts import FACE_PARTS, part_weight
from oodinv.faces.selection import ALL, Selection
from oodinv.fitting.refinement import Refiner
from oodinv.imaging.colour import matching_colour
from oodinv.imaging.decode import decode_photo
from oodinv.imaging.deep import decode_deep
from oodinv.imaging.encode import AS_SOURCE, OutputFormat
from oodinv.imaging.photo import Photo
from oodinv.imaging.pixels import Pixels, rounded
from oodinv.imaging.provenance import Provenance
from oodinv.inversion import DTYPES, Artefacts, Dtype, Subject, artefacts, in_halves, invert, parse
from oodinv.models.generators.base import Noise
from oodinv.runs.manifest import Header, header_of
from oodinv.runs.sinks import PASTED, output_names, write_artefacts
from oodinv.runs.sinks.aligned import write_aligned
from oodinv.runs.sinks.photo import write_pasted
from oodinv.runs.sources.base import Job
from oodinv.weights.build import Model
from oodinv.workflows.align import cut_out, decode_upright, selection_record, unused_frames

NoiseName = Literal["fixed", "zero", "random"]

KEPT_PIXELS = 4_000_000
"""Largest photo, in pixels, that stays in memory until pasting; larger ones are decoded again, to save memory."""


@dataclass(frozen=True, eq=False)
class Portrait:
    """A photo that was read: its subjects from left to right, and remarks for the summary.

    content: bytes of its file, for pasting.
    """

    job: Job
    subjects: list[Subject]
    content: bytes
    photo: Photo | None
    remarks: list[str] = field(default_factory=list)

    def decoded(self) -> Photo:
        """Returns the photo from memory, or decodes it again."""
        if self.photo is not None:
            return self.photo
        aligned = self.subjects[0].aligned
        orientation = None if aligned is None else aligned.orientation
        return decode_photo(self.content, self.job.path, deep=True, frame=self.job.frame or 0, orientation=orientation)


COPIED = 0.5
"""Mean mask on a face above which a remark is made; it is about 0.1 on faces that the generator knows."""


@dataclass(frozen=True, eq=False)
class Inverted:
    """A photo's results: one set of artefacts for each face."""

    portrait: Portrait
    artefacts: list[Artefacts]


@dataclass(frozen=True)
class InvertStages:
    """Aligns, inverts and composites photos, and pastes the result back.

    detector: None if the inputs are already crops. save: artefacts to write in addition to the crops. colour: fraction
    [0, 1] of the photo's colour and light that is transferred to pasted composites. refiner: optimises
    the encoder's codes.
    """

    model: Model
    device: torch.device
    dtype: Dtype
    detector: Detector | None
    noise: NoiseName
    batch_size: int
    save: frozenset[str]
    colour: float = 1.0
    selection: Selection = ALL
    output_format: OutputFormat = AS_SOURCE
    refiner: Refiner | None = None

    def read(self, job: Job, content: bytes) -> Portrait:
        """Decodes a photo and cuts out its faces, or, without a detector, uses it as a crop.

        Raises:
            ImageError: no readable picture. NoFaceError: no face in it.
        """
        pasting = PASTED in self.save and self.detector is not None
        remarks = unused_frames(job, content)
        card = self.model.card
        if self.detector is None:
            photo = decode_photo(content, job.path, frame=job.frame or 0)
            crop = square_crop(photo.pixels, card.size, job.path)
            deep = None if job.frame else decode_deep(content, card.size)
            return Portrait(job, [Subject(job.name, crop, None, deep)], b"", None, remarks)
        photo = decode_upright(job, content, self.detector, deep=pasting)
        cut = cut_out(job, photo, self.detector, card.size, card.crop, self.selection)
        small = photo.pixels.size // 3 <= KEPT_PIXELS
        kept = photo if pasting and small else None
        return Portrait(job, cut.subjects, content if pasting else b"", kept, [*remarks, *cut.remarks])

    def compute(self, photos: list[Portrait]) -> list[Inverted]:
        """Inverts the faces of several photos in batches of `batch_size`."""
        subjects = [subject for photo in photos for subject in photo.subjects]
        done: list[Artefacts] = []
        for start in range(0, len(subjects), self.batch_size):
            done += self._invert(subjects[start : start + self.batch_size])
        results = iter(done)
        return [Inverted(photo, [next(results) for _ in photo.subjects]) for photo in photos]

    def _invert(self, subjects: list[Subject]) -> list[Artefacts]:
        """Inverts a batch; if it doesn't fit memory, its halves one after the other.

        Noise is seeded per face, so halves differ from the whole batch by floating-point rounding at most.

        Raises:
            OodinvError: memory is too small for one face.
        """
        return in_halves(subjects, self._batch, self.device, self.model.card.size)

    def _batch(self, subjects: list[Subject]) -> list[Artefacts]:
        crops = torch.stack([subject.tensor() for subject in subjects]).to(self.device)
        noise, dtype = self._noise(subjects), DTYPES[self.dtype]
        inversion = invert(self.model, crops, noise=noise, dtype=dtype, refiner=self.refiner)
        found = artefacts(subjects, inversion, parse([subject.crop for subject in subjects]))
        return [replace(a, composite=composed(a, Composition())) for a in found]

    def _noise(self, subjects: list[Subject]) -> Noise:
        """Makes, for `random`, one generator per face, seeded by its crop, so that runs are reproducible."""
        if self.noise != "random":
            return self.noise
        digests = [hashlib.sha256(subject.crop.tobytes()).digest() for subject in subjects]
        return tuple(torch.Generator().manual_seed(int.from_bytes(digest[:7], "little")) for digest in digests)

    def write(self, results: Inverted, folder: Path) -> list[str]:
        """Writes crops, the artefacts that `save` names, and the pasted photo.

        Raises:
            ImageError, OutputError: a file can't be written.
        """
        made = Provenance(model=self.model.card.name)
        outputs = []
        for a in results.artefacts:
            outputs += [*write_aligned(a.subject, folder), *write_artefacts(a, folder, self.save, made)]
        if PASTED in self.save and self.detector is not None:
            outputs.append(self._write_pasted(results, folder, made))
        return outputs

    def remarks(self, results: Inverted) -> list[str]:
        """Returns remarks on skipped faces, and on faces that the generator can't draw."""
        shares = ((a.subject.name, face_mask(a)) for a in results.artefacts)
        copied = [
            f"{name}: {share:.0%} of the face is copied from the photo, since the generator can't draw it; edits show "
            "little"
            for name, share in shares
            if share > COPIED
        ]
        return [*results.portrait.remarks, *copied]

    def _write_pasted(self, results: Inverted, folder: Path, made: Provenance) -> str:
        photo = results.portrait.decoded()
        patches = [
            Patch(a.subject.aligned.quad, a.subject.crop, composed(a, Composition(colour=self.colour)))
            for a in results.artefacts
            if a.subject.aligned is not None
        ]
        return write_pasted(photo, patches, folder, results.portrait.job.name, made, self.output_format)


def face_mask(a: Artefacts) -> float:
    """Mean of the mask on the face without its hair, in [0, 1]; 0 if there is no face."""
    parts = a.flows[PARTS_KEY]
    face = part_weight(parts.astype(np.uint8), FACE_PARTS, a.mask.shape[0])
    return float((face * a.mask).sum() / 255 / max(float(face.sum()), 1.0))


def composed(a: Artefacts, composition: Composition) -> Pixels:
    """Composes a face from arrays rounded to file precision, so that `blend` reproduces the result exactly."""
    crop, generated, mask = (x.astype(np.float32) for x in (a.subject.crop, a.generated, a.flows["mask"]))
    return matching_colour(rounded(compose(crop, generated, mask, composition)), a.subject.crop)


def invert_header(stages: InvertStages, detector: str) -> Header:
    """Builds the manifest header of an `invert` run: the card, the sha256 of its files, and all relevant settings."""
    settings = {
        "aligned": stages.detector is None,
        "detector": None if stages.detector is None else detector,
        "selection": None if stages.detector is None else selection_record(stages.selection),
        "noise": stages.noise,
        "refine": 0 if stages.refiner is None else stages.refiner.steps,
        "dtype": stages.dtype,
        "backend": stages.model.backend,
        "save": [name for name in output_names() if name in stages.save],
        "colour": stages.colour,
        "format": asdict(stages.output_format),
    }
    return header_of("invert", stages.model, settings)
