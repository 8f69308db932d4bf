"""The stages of a benchmark run: crops a photo, inverts it by every ablation, scores the results."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oodinv.benchmark.ablations import Ablation, EncodedBatch
from oodinv.benchmark.edits import Trials, Tried, carry_out
from oodinv.benchmark.score import Scorer, as_saved, at_size, to_batch
from oodinv.compositing.composition import Composition
from oodinv.errors import NoFaceError
from oodinv.faces.align import align
from oodinv.faces.crop import crop, square_crop
from oodinv.faces.detectors.base import Detector
from oodinv.faces.selection import LARGEST
from oodinv.imaging.decode import decode_photo
from oodinv.imaging.encode import write_png
from oodinv.imaging.files import atomic_write, write_npz
from oodinv.imaging.pixels import Pixels, resize_pixels, to_tensor, to_uint8
from oodinv.inversion import DTYPES, Dtype, Inversion, Subject, artefacts, decode, encode
from oodinv.metrics.alignment import flow_magnitude, mask_area
from oodinv.models.generators.base import photo_noise
from oodinv.recipe.benchmark import BenchmarkRecipe
from oodinv.runs.manifest import Header, header_of
from oodinv.runs.sources.base import Job
from oodinv.weights.build import Model
from oodinv.workflows.align import decode_upright
from oodinv.workflows.invert import composed

Scores = dict[str, dict[str, dict[str, float | None]]]
"""One photo's scores: by ablation, then by scope (composite, generated, in-domain, alignment), then by metric.

Those of edits are under "edit NAME", then by alternative, then by measure.
"""
EDIT = "edit "

PICTURE_SIZE = 256  # largest side of the pictures in the report


@dataclass(frozen=True, eq=False)
class BenchmarkCrop:
    """The crop of one photo's face, uint8 (size, size, 3), and the reference that results are compared with."""

    job: Job
    seen: Pixels
    reference: Pixels


@dataclass(frozen=True, eq=False)
class Scored:
    """One photo's scores, a strip of pictures (input, generated, composite, mask), and features by "DISTANCE-ABLATION".

    edits: strip of the photo, the unedited composite, and each edited one; None without edits.
    """

    crop: BenchmarkCrop
    scores: Scores
    strip: Pixels
    features: dict[str, NDArray[np.float64]]
    edits: Pixels | None


@dataclass(frozen=True)
class BenchmarkStages:
    """Measures one model by one protocol. `detector` is None where the photos are crops already."""

    model: Model
    device: torch.device
    dtype: Dtype
    detector: Detector | None
    recipe: BenchmarkRecipe
    ablations: list[Ablation]
    scorer: Scorer
    trials: Trials | None = None

    def read(self, job: Job, content: bytes) -> BenchmarkCrop:
        """Decodes a photo and cuts out its largest face, or takes it as a crop.

        Raises:
            ImageError: no readable picture. NoFaceError: no face in it.
        """
        card, finest = self.model.card, self._reference_size()
        if self.detector is None:
            pixels = decode_photo(content, job.path).pixels
            seen = square_crop(pixels, card.size, job.path)
            return BenchmarkCrop(job, seen, seen if finest == card.size else resize_pixels(pixels, finest))
        pixels = decode_upright(job, content, self.detector).pixels
        try:
            (face,) = align(pixels, self.detector, card.size, card.crop.quad, LARGEST).faces
        except NoFaceError as error:
            raise NoFaceError(f"{job.path}: {error}") from error
        same = finest == card.size
        return BenchmarkCrop(job, face.crop, face.crop if same else crop(pixels, face.quad, finest))

    def _reference_size(self) -> int:
        """Side of the reference: the model's size, or with `reference: photo` the largest size of a metric."""
        size = self.model.card.size
        if self.recipe.reference == "crop":
            return size
        return max(use.size or size for use in self.recipe.metrics)

    def compute(self, photos: list[BenchmarkCrop]) -> list[Scored]:
        """Inverts a batch by every ablation and scores it.

        In-domain scores weight the generated pictures of all ablations by 1 − M of the full method, so that all are
        compared on the same region.
        """
        seen = to_batch([photo.seen for photo in photos], self.device)
        reference = to_batch([photo.reference for photo in photos], self.device)
        dtype = DTYPES[self.dtype]
        encoding = encode(self.model, seen, dtype)
        full = decode(self.model, seen, encoding.w_plus.float(), encoding, photo_noise("fixed", encoding.noise), dtype)
        scores: list[Scores] = [{} for _ in photos]
        features: list[dict[str, NDArray[np.float64]]] = [{} for _ in photos]
        self._add_features("reference", reference, features)
        batch = EncodedBatch(self.model, seen, encoding, full, dtype)
        for ablation in self.ablations:
            inversion = ablation.invert(batch)
            if not ablation.composite_only:
                inversion = _as_written(photos, inversion)
            for scope, values in self._score(inversion, reference, full.mask).items():
                for i, record in enumerate(scores):
                    record.setdefault(ablation.name, {})[scope] = {key: _finite(v[i]) for key, v in values.items()}
            self._add_features(ablation.name, as_saved(inversion.composite), features)
        strips, edited = _strips(seen, full), self._edited(photos, full, scores)
        return [Scored(*parts) for parts in zip(photos, scores, strips, features, edited, strict=True)]

    def _edited(self, photos: list[BenchmarkCrop], full: Inversion, scores: list[Scores]) -> list[Pixels | None]:
        """Carries out the edits, adds their scores, and returns a strip of each photo's results."""
        if self.trials is None:
            return [None for _ in photos]
        crops = [photo.seen for photo in photos]
        tried = carry_out(self.trials, self.model, self.device, self.dtype, crops, full)
        for i, record in enumerate(scores):
            record |= _edit_scores(tried, i)
        shown = [[crop, *results] for crop, results in zip(crops, tried.pictures, strict=True)]
        return [np.concatenate([resize_pixels(p, self._shown_size()) for p in row], axis=1) for row in shown]

    def _shown_size(self) -> int:
        return min(PICTURE_SIZE, self.model.card.size)

    def _score(self, inversion: Inversion, reference: Tensor, region: Tensor) -> dict[str, dict[str, list[float]]]:
        generated, composed = as_saved(inversion.generated), as_saved(inversion.composite)
        flow = flow_magnitude(inversion.alignments)
        alone = self.scorer.score(reference, generated)
        return {
            "composite": self.scorer.score(reference, composed) if inversion.mask.any() else alone,
            "generated": alone,
            "in-domain": self.scorer.score(reference, generated, 1 - region),
            "alignment": {"mask_area": mask_area(inversion.mask).tolist()}
            | ({} if flow is None else {"flow": flow.tolist()}),
        }

    def _add_features(self, name: str, images: Tensor, features: list[dict[str, NDArray[np.float64]]]) -> None:
        """Adds to each photo's record the features of its picture that distances compare."""
        for distance, found in self.scorer.features(images).items():
            for record, feature in zip(features, found, strict=True):
                record[feature_key(distance, name)] = feature

    def write(self, results: Scored, folder: Path) -> list[str]:
        """Writes scores/NAME.json, pictures/NAME.png and, where the protocol needs them, features/NAME.npz."""
        name = results.crop.job.name
        outputs = [f"scores/{name}.json", f"pictures/{name}.png"]
        record = json.dumps(results.scores, indent=1).encode()
        atomic_write(folder / outputs[0], lambda file: file.write(record))
        write_png(folder / outputs[1], results.strip)
        if results.features:
            outputs.append(f"features/{name}.npz")
            write_npz(folder / outputs[-1], **results.features)
        if results.edits is not None:
            outputs.append(f"edits/{name}.png")
            write_png(folder / outputs[-1], results.edits)
        return outputs


def feature_key(distance: str, name: str) -> str:
    """Key in features/NAME.npz of an ablation's composite, or of the photo (`reference`)."""
    return f"{distance}-{name}"


def _as_written(photos: list[BenchmarkCrop], inversion: Inversion) -> Inversion:
    """Replaces the composites by those of `oodinv invert`, made from arrays in the precision of their files."""
    subjects = [Subject(photo.job.name, photo.seen, None) for photo in photos]
    pictures = np.stack([composed(a, Composition()) for a in artefacts(subjects, inversion)])
    return replace(inversion, composite=to_tensor(pictures).to(inversion.composite.device))


def _edit_scores(tried: Tried, number: int) -> Scores:
    """Scores of the edits for one photo of a batch."""
    found: Scores = {}
    for edit, values in tried.scores.items():
        for key, series in values.items():
            alternative, measure = key.split("/")
            found.setdefault(EDIT + edit, {}).setdefault(alternative, {})[measure] = _finite(series[number])
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _strips(seen: Tensor, full: Inversion) -> list[Pixels]:
    """Input, generated, composite and mask side by side, each at most PICTURE_SIZE wide."""
    side = min(PICTURE_SIZE, seen.shape[-1])
    mask = full.mask.expand_as(seen) * 2 - 1
    row = torch.cat([at_size(x.float(), side) for x in (seen, full.generated, full.composite, mask)], dim=3)
    return list(to_uint8(row))


def header(stages: BenchmarkStages) -> Header:
    """Builds the manifest header, with all settings that scores depend on."""
    protocol: dict[str, Any] = stages.recipe.model_dump(
        mode="json", include={"name", "reference", "metrics", "distances"}, exclude_none=True
    )
    settings = {
        **protocol,
        "aligned": stages.detector is None,
        "dtype": stages.dtype,
        "backend": stages.model.backend,
        "variants": [ablation.name for ablation in stages.ablations],
        "left_out": [note.partition(":")[0] for note in stages.scorer.notes],
        "edits": {} if stages.trials is None else stages.trials.record(),
    }
    return header_of("benchmark", stages.model, settings)
