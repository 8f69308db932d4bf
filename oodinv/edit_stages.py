"""What `edit` does to each inverted photo: the stages that `runner.run` drives."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oodinv.compositing.compose import Drawn, compose, compose_edit, movement, movement_of
from oodinv.compositing.paste_back import Edit
from oodinv.compositing.regions.confine import confined
from oodinv.edit import Plan, apply
from oodinv.edit_plan import Edits
from oodinv.errors import ImageError, RecipeError
from oodinv.faces.align import Placement, read_placement
from oodinv.imaging.decode import decode_photo
from oodinv.imaging.encode import write_png
from oodinv.imaging.files import atomic_write
from oodinv.imaging.pixels import Flow, Levels, Pixels, resize_pixels, rounded, to_tensor, to_uint8
from oodinv.imaging.provenance import Provenance, composite_mark, packet
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
from oodinv.report import Panel, finest_flow, strip
from oodinv.runs.manifest import Header, header_of
from oodinv.runs.results import Results, read_arrays, read_latents, read_picture
from oodinv.runs.sinks import OUTPUTS, write_artefacts, write_pasted
from oodinv.runs.sources import Job
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
class InvertedPhoto:
    """A photo's inverted faces; `content` is its file's, empty where nothing will be pasted."""

    job: Job
    faces: list[InvertedFace]
    content: bytes


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


@dataclass(frozen=True, eq=False)
class EditedPhoto:
    """A photo and what became of its faces."""

    photo: InvertedPhoto
    faces: list[EditedFace]


def jobs(results: Results) -> tuple[list[Job], tuple[str, ...]]:
    """A job for each photo of an inversion, and notes on photos that failed or are gone: crops stand in for these."""
    found, gone, notes = [], 0, list[str]()
    for name, entry in results.entries.items():
        path = results.photo(entry)
        if path is None:
            gone += 1
            path = results.path / f"aligned/{results.crops(entry)[0]}.png"
        found.append(Job(path, name))
    if results.failed:
        notes.append(f"{_counted(results.failed)} failed when {results.path} was made; invert again to edit them too")
    if gone:
        notes.append(f"{_counted(gone)} can't be found any more; only what {results.path} has of them is edited")
    return found, tuple(notes)


def _counted(photos: int) -> str:
    return f"{photos} photo{'' if photos == 1 else 's'}"


@dataclass(frozen=True)
class EditStages:
    """Edits what an inversion saved: latents, flows, masks and crops are used again, nothing is encoded twice.

    Only for `mask: edited` the encoder runs, since features are not saved.
    """

    model: Model
    device: torch.device
    dtype: Dtype
    noise: Noise
    batch_size: int
    recipe: EditRecipe
    edits: Edits
    inversion: Results

    @property
    def made(self) -> Provenance:
        """What pictures say of their making."""
        return Provenance(model=self.model.card.name, recipe=self.edits.summary)

    def read(self, job: Job, content: bytes) -> InvertedPhoto:
        """Reads a photo's faces from the inversion.

        Raises:
            ImageError: a part is missing or damaged, or the photo was changed since.
        """
        entry = self.inversion.entries[job.name]
        is_photo = job.path == self.inversion.photo(entry)
        if is_photo and entry.sha256 is not None and hashlib.sha256(content).hexdigest() != entry.sha256:
            raise ImageError(f"{job.path} was changed after {self.inversion.path} was made of it; invert it again")
        aligned = bool(self.inversion.header.settings.get("aligned"))
        faces = [self._face(crop, aligned) for crop in self.inversion.crops(entry)]
        return InvertedPhoto(job, faces, content if is_photo and not aligned else b"")

    def _face(self, name: str, aligned: bool) -> InvertedFace:
        folder = self.inversion.path
        flows = read_arrays(folder / f"flows/{name}.npz", "oodinv invert")
        expected = (
            set() if self.model.samm is None else {f"{k}_{s}" for s in self.model.samm.sizes for k in ("flow", "mask")}
        )
        if missing := sorted(expected - set(flows)):
            raise ImageError(f"{folder}/flows/{name}.npz: has no {', '.join(missing)}; invert again with this model")
        return InvertedFace(
            name=name,
            crop=resize_pixels(read_picture(folder / f"aligned/{name}.png", "oodinv invert"), self.model.card.size),
            w_plus=read_latents(folder / f"latents/{name}.npz", self.model.code_shape),
            flows=flows,
            placement=None if aligned else read_placement(folder / f"aligned/{name}.json"),
        )

    def compute(self, photos: list[InvertedPhoto]) -> list[EditedPhoto]:
        """Edits the faces of several photos in batches of `batch_size`, halved where memory is too small for them.

        Raises:
            OodinvError: memory is too small for one face.
        """
        faces = [face for photo in photos for face in photo.faces]
        done: list[EditedFace] = []
        for start in range(0, len(faces), self.batch_size):
            batch = faces[start : start + self.batch_size]
            done += in_halves(batch, self._edit, self.device, self.model.card.size)
        rest = iter(done)
        return [EditedPhoto(photo, [next(rest) for _ in photo.faces]) for photo in photos]

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
            return _levels(base.composite)
        parts = zip(_levels(crops), _levels(base.generated), _masks(base), strict=True)
        return np.stack([compose(x, drawn, mask, self.recipe.compose) for x, drawn, mask in parts])

    def _edited_composites(
        self, crops: Tensor, base: Inversion, variant: Inversion, before: Levels
    ) -> list[EditedComposite]:
        how, scale = self.recipe.compose, self.model.card.crop.scale
        if variant is base:
            return [EditedComposite(composite) for composite in before]
        if self._plain:
            plain = zip(before, _levels(variant.composite), _levels(base.generated), strict=True)
            return [EditedComposite(confined(b, a, unedited, None, how.area, scale)) for b, a, unedited in plain]
        pictures = (before, _levels(crops), _levels(base.generated), _levels(variant.generated))
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

    def write(self, results: EditedPhoto, folder: Path) -> list[str]:
        """Writes the folders that `invert` writes, `unedited`, and for sweeps `strips`.

        Raises:
            ImageError, OutputError: a file can't be written.
        """
        outputs = [output for face in results.faces for output in self._write_face(face, folder)]
        if results.photo.content:
            photo = decode_photo(results.photo.content, results.photo.job.path, deep=True)
            for number, variant in enumerate(self.edits.variants):
                changes = [change for face in results.faces if (change := self._change(face, number)) is not None]
                name = results.photo.job.name + variant.suffix
                outputs.append(write_pasted(photo, changes, folder, name, self.made))
        return outputs

    def _change(self, edited: EditedFace, number: int) -> Edit | None:
        """What a variant changes in the photo; None for a face that belongs into none."""
        placement = edited.face.placement
        if placement is None:
            return None
        return Edit(placement.quad, edited.before, edited.results[number].composite, edited.flows[number])

    def _write_face(self, edited: EditedFace, folder: Path) -> Iterator[str]:
        face = edited.face
        yield (output := f"aligned/{face.name}.png")
        write_png(folder / output, face.crop, packet(Provenance()))
        if face.placement is not None:
            yield (output := f"aligned/{face.name}.json")
            text = (self.inversion.path / output).read_bytes()
            atomic_write(folder / output, lambda file: file.write(text))
        yield (output := f"unedited/{face.name}.png")
        drawn = packet(replace(self.made, source="trainedAlgorithmicMedia", recipe=None))
        write_png(folder / output, edited.unedited, drawn)
        for result in edited.results:
            yield from write_artefacts(result, folder, frozenset(OUTPUTS), self.made)
        if len(edited.results) > 1:
            yield (output := f"strips/{face.name}.png")
            write_png(folder / output, self._strip(edited), composite_mark(self.made))

    def _strip(self, edited: EditedFace) -> Pixels:
        labels = [variant.suffix.removeprefix("@") for variant in self.edits.variants]
        results = [result.composite for result in edited.results]
        return strip([("photo", edited.face.crop), *zip(labels, results, strict=True)])

    def preview(self, photos: list[Job]) -> Iterator[Panel]:
        """Panels of all faces, with nothing written or pasted. Photos that can't be read are left out."""
        for start in range(0, len(photos), self.batch_size):
            read = [self.read(job, job.path.read_bytes()) for job in photos[start : start + self.batch_size]]
            for photo in self.compute(read):
                for face in photo.faces:
                    for a in face.results:
                        yield Panel(a.subject.name, face.face.crop, a.composite, a.mask, finest_flow(a.flows))


def _masks(inversion: Inversion) -> NDArray[np.float32]:
    return inversion.mask[:, 0].float().cpu().numpy()


def _levels(images: Tensor) -> Levels:
    """(B, 3, S, S) in [−1, 1] → float32 (B, S, S, 3) in grey levels, clipped to those that a picture can show."""
    scaled = ((images.detach().float() + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1)
    return np.ascontiguousarray(scaled.cpu().numpy(), dtype=np.float32)


def edit_header(stages: EditStages) -> Header:
    """Header of the manifest of an `edit` run: the model, the recipe, and the inversion that it starts from."""
    digest = hashlib.sha256()
    for variant in stages.edits.variants:
        plan = variant.plan
        for tensor in (*plan.deltas, *(target.unit for target in plan.targets), plan.towards, plan.mixed):
            if tensor is not None:
                digest.update(tensor.cpu().numpy().tobytes())
    inversion = stages.inversion.header
    settings = {
        "summary": stages.edits.summary,
        "recipe": stages.recipe.model_dump(mode="json", exclude_none=True, exclude={"inputs", "output", "description"}),
        "suffixes": [variant.suffix for variant in stages.edits.variants],
        "directions": digest.hexdigest(),
        "dtype": stages.dtype,
        "aligned": bool(inversion.settings.get("aligned")),
        "inversion": {"settings": inversion.settings, "weights": inversion.weights},
    }
    return header_of("edit", stages.model, settings)


def check_model(model: Model, results: Results) -> None:
    """Makes sure that latents were made by this model.

    Raises:
        RecipeError: a weight file of the model is another one than that of the inversion.
    """
    for role, file in model.files.items():
        made_with = results.header.weights.get(role)
        if made_with is not None and made_with != model.sha256[role]:
            raise RecipeError(
                f"{results.path} was made with {results.model} and another {role} than {file}; name the model that "
                "made it, or invert the photos again"
            )
