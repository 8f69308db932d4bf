"""Edits of inverted faces in memory: arrays in, arrays out."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oodinv.compositing.compose import (
    DYE_KEY,
    UNEDITED_MASK,
    StoredFace,
    compose_stored,
    dye_array,
    flow_kind,
    unedited_composite,
)
from oodinv.compositing.regions import load_region
from oodinv.editing.latent import LatentEdit, apply_edit
from oodinv.editing.parts import parts_of
from oodinv.editing.plan import EditPlan
from oodinv.errors import OutputError
from oodinv.faces.align import Placement
from oodinv.faces.parts import PartMap
from oodinv.fitting.tuning import Tuner, with_weights
from oodinv.imaging.pixels import Flow, Pixels, rounded, to_tensor, to_uint8
from oodinv.inversion import (
    DTYPES,
    Arrays,
    Artefacts,
    Dtype,
    Inversion,
    Subject,
    artefacts,
    autocast,
    decode,
    encode,
    in_halves,
    parse,
)
from oodinv.models.encoders.base import Encoding
from oodinv.models.generators.base import Noise
from oodinv.models.samm import Alignment
from oodinv.recipe.edit import EditRecipe
from oodinv.weights.build import Model
from oodinv.weights.tuned import read_tuned, write_tuned


@dataclass(frozen=True, eq=False)
class InvertedFace:
    """Result of an inversion for one face.

    crop uint8 (S, S, 3). w_plus (num_ws, w_dim): codes that edits start from (`Artefacts.edited_from`). flows: the
    arrays of flows/NAME.npz, which are flows, masks and the label map, by their keys in that file.
    placement: position in the photo; None if it is not to be pasted. tuned: file that keeps the weights of the
    generator which are tuned to it; None to keep none.
    """

    name: str
    crop: Pixels
    w_plus: NDArray[np.float32]
    flows: Arrays
    placement: Placement | None
    tuned: Path | None = None

    @classmethod
    def of(cls, inverted: Artefacts) -> "InvertedFace":
        """A face that was just inverted."""
        subject, aligned = inverted.subject, inverted.subject.aligned
        placement = None if aligned is None else aligned.placement
        return cls(subject.name, subject.crop, inverted.edited_from, inverted.flows, placement)

    @property
    def parts(self) -> PartMap:
        """The crop's label map; it is made anew where the inversion saved none."""
        return parts_of(self.crop, self.flows)


def inverted_faces(crops: Sequence[Pixels], inversion: Inversion) -> list[InvertedFace]:
    """Splits an inversion of crops uint8 (S, S, 3) into faces, named by their indices and without placement."""
    subjects = [Subject(str(n), crop, None) for n, crop in enumerate(crops)]
    return [InvertedFace.of(inverted) for inverted in artefacts(subjects, inversion, parse(crops))]


@dataclass(frozen=True, eq=False)
class EditedFace:
    """Results for one face.

    unedited, before uint8 (S, S, 3): generated picture and composite without the edit. results, flows: artefacts and
    `paste_back.Patch.flow` of each variant.
    """

    face: InvertedFace
    unedited: Pixels
    before: Pixels
    results: list[Artefacts]
    flows: list[Flow | None]


@dataclass(frozen=True)
class Editor:
    """Edits faces by a plan in batches, with the flows and masks of their inversion.

    The encoder runs only for `mask: edited`, since features are not saved. batch_size: faces per batch. tuner: tunes
    the generator to each face, one after the other; None draws all with the model's.
    """

    model: Model
    device: torch.device
    dtype: Dtype
    noise: Noise
    batch_size: int
    recipe: EditRecipe
    plan: EditPlan
    tuner: Tuner | None = None

    def edit(self, faces: list[InvertedFace]) -> list[EditedFace]:
        """Edits faces in batches, which are halved if memory is insufficient.

        Raises:
            OodinvError: memory is insufficient for one face.
        """
        done: list[EditedFace] = []
        for start in range(0, len(faces), self.batch_size):
            batch = faces[start : start + self.batch_size]
            done += in_halves(batch, self._edit, self.device, self.model.card.size)
        return done

    @property
    def tunes(self) -> bool:
        """True if the generator is tuned: there is a tuner, and results show what the generator draws."""
        shown = load_region(self.recipe.compose.area).shows_generated
        return self.tuner is not None and shown and any(v.edit.changes_codes for v in self.plan.variants)

    def tuned(self, face: InvertedFace) -> "Editor":
        """The editor for one face, with the generator tuned to it; itself if it doesn't tune."""
        if self.tuner is None or not self.tunes:
            return self
        generator = with_weights(self.model.generator, self._tuned_weights(face, self.tuner))
        return replace(self, model=replace(self.model, generator=generator, runtime=None), tuner=None)

    def _tuned_weights(self, face: InvertedFace, tuner: Tuner) -> dict[str, Tensor]:
        """Weights of the generator that are tuned to a face; kept ones, if nothing that they depend on changed."""
        fingerprint = self._fingerprint(face, tuner)
        kept = tuner.recent.get(fingerprint)
        if kept is None and face.tuned is not None:
            kept = read_tuned(face.tuned, fingerprint)
        if kept is not None:
            return kept
        crops, w_plus, alignments = self._inputs([face])
        with autocast(self.device, DTYPES[self.dtype]):
            weights = tuner.tune(crops, w_plus, alignments, self.noise)
        tuner.remember(fingerprint, weights)
        if face.tuned is not None:
            with suppress(OutputError):  # an inversion that can't be written to can be edited all the same
                write_tuned(face.tuned, weights, fingerprint)
        return weights

    def _fingerprint(self, face: InvertedFace, tuner: Tuner) -> str:
        """The sha256 of what tuned weights depend on."""
        digest = hashlib.sha256(f"{self.model.sha256['generator']} {tuner.steps} {self.noise} {self.dtype}".encode())
        for array in (face.crop, face.w_plus, *(face.flows[key] for key in sorted(face.flows))):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _inputs(self, faces: list[InvertedFace]) -> tuple[Tensor, Tensor, dict[int, Alignment]]:
        """Crops (B, 3, S, S) in [−1, 1], codes (B, num_ws, w_dim) and alignments of faces."""
        crops = to_tensor(np.stack([face.crop for face in faces])).to(self.device)
        w_plus = torch.from_numpy(np.stack([face.w_plus for face in faces])).to(self.device)
        return crops, w_plus, self._alignments(faces)

    def _edit(self, faces: list[InvertedFace]) -> list[EditedFace]:
        if self.tunes:
            return [edited for face in faces for edited in self.tuned(face)._edit([face])]
        crops, w_plus, alignments = self._inputs(faces)
        base = self._decode(crops, w_plus, alignments)
        source: Encoding | dict[int, Alignment] = base.alignments
        if self.recipe.mask == "edited":
            source = encode(self.model, crops, DTYPES[self.dtype])
        variants = [self._variant(v.edit, base, crops, w_plus, source) for v in self.plan.variants]
        unedited, masks = to_uint8(base.generated), _masks(base)
        parts = [face.parts for face in faces]
        made = [
            artefacts([Subject(face.name + v.suffix, face.crop, None) for face in faces], variant, parts)
            for v, variant in zip(self.plan.variants, variants, strict=True)
        ]
        return [
            self._composed(face, unedited[n], masks[n], parts[n], [some[n] for some in made])
            for n, face in enumerate(faces)
        ]

    def _composed(
        self,
        face: InvertedFace,
        unedited: Pixels,
        mask: NDArray[np.float16],
        parts: PartMap,
        variants: list[Artefacts],
    ) -> EditedFace:
        """Composites one face's variants from arrays in the precision of their files, as `blend` does."""
        how, scale = self.recipe.compose, self.model.card.crop.scale
        own_mask = mask if self.recipe.mask == "edited" else None
        before = unedited_composite(StoredFace(face.crop, unedited, unedited, mask, parts), how)
        results, flows = list[Artefacts](), list[Flow | None]()
        for a, dye in zip(variants, (v.dye for v in self.plan.variants), strict=True):
            stored = StoredFace(face.crop, unedited, a.generated, a.flows["mask"], parts, own_mask, dye)
            composed = compose_stored(stored, before, how, scale)
            extra: Arrays = {} if own_mask is None else {UNEDITED_MASK: own_mask}
            if composed.edit_flow is not None and (kind := flow_kind(how)) is not None:
                extra[kind] = composed.edit_flow
            if dye is not None:
                extra[DYE_KEY] = dye_array(dye)
            results.append(replace(a, composite=composed.after, flows=a.flows | extra))
            flows.append(composed.detail_flow)
        return EditedFace(face, unedited, rounded(before), results, flows)

    def _alignments(self, faces: list[InvertedFace]) -> dict[int, Alignment]:
        sizes = () if self.model.samm is None else self.model.samm.sizes
        return {size: Alignment(*(self._stack(faces, f"{k}_{size}") for k in ("flow", "mask"))) for size in sizes}

    def _stack(self, faces: list[InvertedFace], key: str) -> Tensor:
        return torch.from_numpy(np.stack([face.flows[key] for face in faces]).astype(np.float32)).to(self.device)

    def _decode(self, crops: Tensor, w_plus: Tensor, source: Encoding | dict[int, Alignment]) -> Inversion:
        """Generates without the photo's own noise, which belongs where its details are and not where an edit's are."""
        return decode(self.model, crops, w_plus, source, self.noise, DTYPES[self.dtype])

    def _variant(
        self,
        edit: LatentEdit,
        base: Inversion,
        crops: Tensor,
        w_plus: Tensor,
        source: Encoding | dict[int, Alignment],
    ) -> Inversion:
        """Generates an edited inversion; returns `base` if the edit changes no code of the batch."""
        edit = replace(
            edit,
            towards=None if edit.towards is None else edit.towards.to(self.device),
            mixed=None if edit.mixed is None else edit.mixed.to(self.device),
            deltas=[delta.to(self.device) for delta in edit.deltas],
            targets=[replace(target, unit=target.unit.to(self.device)) for target in edit.targets],
        )
        edited = apply_edit(edit, w_plus, self.model.encoder.w_avg.to(self.device))
        if torch.equal(edited, w_plus):
            return base
        return self._decode(crops, edited, source)


def _masks(inversion: Inversion) -> NDArray[np.float16]:
    """Masks of a batch in the precision of their files, float16 (B, S, S)."""
    return inversion.mask[:, 0].float().cpu().numpy().astype(np.float16)
