"""Applies a recipe to inverted faces: arrays in, arrays out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oodinv.compositing.compose import Drawn, compose, compose_edit, movement, movement_of
from oodinv.compositing.regions.confine import confined
from oodinv.editing.latent import Plan, apply
from oodinv.editing.plan import Edits
from oodinv.faces.align import Placement
from oodinv.imaging.pixels import Flow, Levels, Pixels, rounded, to_levels, to_tensor, to_uint8
from oodinv.inversion import (
    DTYPES,
    Artefacts,
    Dtype,
    Inversion,
    Subject,
    artefacts,
    decode,
    encode,
    in_halves,
    saved_alignments,
)
from oodinv.models.encoders.base import Encoding
from oodinv.models.generators.stylegan2 import Noise
from oodinv.models.samm import Alignment
from oodinv.recipe.edit import Composition, EditRecipe
from oodinv.weights.build import Model


@dataclass(frozen=True, eq=False)
class InvertedFace:
    """One face as an inversion left it: crop uint8 (S, S, 3), its code, and flows and masks by their saved names."""

    name: str
    crop: Pixels
    w_plus: NDArray[np.float32]
    flows: dict[str, NDArray[np.floating]]
    placement: Placement | None


def inverted_faces(crops: Sequence[Pixels], inversion: Inversion) -> list[InvertedFace]:
    """A batch that was just inverted, as faces to edit, named by their numbers; none is to be pasted."""
    arrays, w_plus = saved_alignments(inversion), inversion.w_plus.float().cpu().numpy()
    return [
        InvertedFace(str(n), crop, w_plus[n], {key: array[n] for key, array in arrays.items()}, None)
        for n, crop in enumerate(crops)
    ]


@dataclass(frozen=True, eq=False)
class EditedComposite:
    """A face's edited composite, what moves along when pasted (`paste_back.Edit.flow`), and how the edit moved it."""

    levels: Levels
    along: Flow | None = None
    moved: Flow | None = None

    def saved(self, composition: Composition) -> dict[str, NDArray[np.floating]]:
        """The movement as it goes among the flows, float16 (2, S, S), so that `blend` need not find it again."""
        name = movement_of(composition)
        return {} if self.moved is None or name is None else {name: self.moved.transpose(2, 0, 1).astype(np.float16)}


@dataclass(frozen=True, eq=False)
class EditedFace:
    """A face's results, one for each variant; `unedited` and `before` are picture and composite without the edit.

    flows: for each variant, how the photo's own detail moves along (`paste_back.Edit.flow`).
    """

    face: InvertedFace
    unedited: Pixels
    before: Pixels
    results: list[Artefacts]
    flows: list[Flow | None]


@dataclass(frozen=True)
class Editor:
    """Applies a recipe made concrete to faces, in batches of `batch_size`; their flows and masks are used again.

    Only for `mask: edited` the encoder runs, since features are not saved.
    """

    model: Model
    device: torch.device
    dtype: Dtype
    noise: Noise
    batch_size: int
    recipe: EditRecipe
    edits: Edits

    def edit(self, faces: list[InvertedFace]) -> list[EditedFace]:
        """Edits faces in batches, halved where memory is too small for them.

        Raises:
            OodinvError: memory is too small for one face.
        """
        done: list[EditedFace] = []
        for start in range(0, len(faces), self.batch_size):
            batch = faces[start : start + self.batch_size]
            done += in_halves(batch, self._edit, self.device, self.model.card.size)
        return done

    def _edit(self, faces: list[InvertedFace]) -> list[EditedFace]:
        crops = to_tensor(np.stack([face.crop for face in faces])).to(self.device)
        w_plus = torch.from_numpy(np.stack([face.w_plus for face in faces])).to(self.device)
        base = self._decode(crops, w_plus, self._alignments(faces))
        source: Encoding | dict[int, Alignment] = base.alignments
        if self.recipe.mask == "edited":
            source = encode(self.model, crops, DTYPES[self.dtype])
        before = self._unedited_composites(crops, base)
        variants = [self._variant(v.plan, base, crops, w_plus, source) for v in self.edits.variants]
        edited = [self._edited_composites(crops, base, variant, before) for variant in variants]
        suffixes = [variant.suffix for variant in self.edits.variants]
        results = [
            self._artefacts(faces, suffix, variant, composites)
            for suffix, variant, composites in zip(suffixes, variants, edited, strict=True)
        ]
        unedited, composed = to_uint8(base.generated), rounded(before)
        return [
            EditedFace(
                face, unedited[n], composed[n], [r[n] for r in results], [composites[n].along for composites in edited]
            )
            for n, face in enumerate(faces)
        ]

    def _alignments(self, faces: list[InvertedFace]) -> dict[int, Alignment]:
        sizes = () if self.model.samm is None else self.model.samm.sizes
        return {size: Alignment(*(self._stack(faces, f"{k}_{size}") for k in ("flow", "mask"))) for size in sizes}

    def _stack(self, faces: list[InvertedFace], key: str) -> Tensor:
        return torch.from_numpy(np.stack([face.flows[key] for face in faces]).astype(np.float32)).to(self.device)

    def _decode(self, crops: Tensor, w_plus: Tensor, source: Encoding | dict[int, Alignment]) -> Inversion:
        return decode(self.model, crops, w_plus, source, self.noise, DTYPES[self.dtype])

    def _variant(
        self, plan: Plan, base: Inversion, crops: Tensor, w_plus: Tensor, source: Encoding | dict[int, Alignment]
    ) -> Inversion:
        """The edited inversion; where the edit changes no code of the batch, the very one that there was."""
        plan = replace(
            plan,
            towards=None if plan.towards is None else plan.towards.to(self.device),
            mixed=None if plan.mixed is None else plan.mixed.to(self.device),
            deltas=[delta.to(self.device) for delta in plan.deltas],
            targets=[replace(target, unit=target.unit.to(self.device)) for target in plan.targets],
        )
        edited = apply(plan, w_plus, self.model.encoder.w_avg.to(self.device))
        return base if torch.equal(edited, w_plus) else self._decode(crops, edited, source)

    @property
    def _plain(self) -> bool:
        """Whether the recipe wants the very composites of the inversion; a turned head is composed of them."""
        how = self.recipe.compose
        return how == Composition(area=how.area) and how.area != "pose"

    def _unedited_composites(self, crops: Tensor, base: Inversion) -> Levels:
        """Composites without an edit, float32 (B, S, S, 3) in grey levels."""
        if self._plain:
            return to_levels(base.composite)
        parts = zip(to_levels(crops), to_levels(base.generated), _masks(base), strict=True)
        return np.stack([compose(x, drawn, mask, self.recipe.compose) for x, drawn, mask in parts])

    def _edited_composites(
        self, crops: Tensor, base: Inversion, variant: Inversion, before: Levels
    ) -> list[EditedComposite]:
        how, scale = self.recipe.compose, self.model.card.crop.scale
        if variant is base:
            return [EditedComposite(composite) for composite in before]
        if self._plain:
            plain = zip(before, to_levels(variant.composite), to_levels(base.generated), strict=True)
            return [EditedComposite(confined(b, a, unedited, None, how.area, scale)) for b, a, unedited in plain]
        pictures = (before, to_levels(crops), to_levels(base.generated), to_levels(variant.generated))
        composites = []
        for b, x, unedited, generated, mask in zip(*pictures, _masks(variant), strict=True):
            moved = movement(unedited, generated, mask, how, scale)
            after, along = compose_edit(Drawn(x, unedited, generated, mask, moved), b, how, scale)
            composites.append(EditedComposite(after, along, moved))
        return composites

    def _artefacts(
        self, faces: list[InvertedFace], suffix: str, variant: Inversion, composites: list[EditedComposite]
    ) -> list[Artefacts]:
        subjects = [Subject(face.name + suffix, face.crop, None) for face in faces]
        return [
            replace(a, composite=rounded(c.levels), flows=a.flows | c.saved(self.recipe.compose))
            for a, c in zip(artefacts(subjects, variant), composites, strict=True)
        ]


def _masks(inversion: Inversion) -> NDArray[np.float32]:
    return inversion.mask[:, 0].float().cpu().numpy()
