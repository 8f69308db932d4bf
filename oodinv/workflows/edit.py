"""The `edit` workflow: stages for `runner.run`, from inverted photos to edited ones."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from oodinv.compositing.paste_back import Patch
from oodinv.editing.apply import EditedFace, Editor, InvertedFace
from oodinv.errors import ImageError, ManifestError, RecipeError
from oodinv.faces.align import read_placement
from oodinv.imaging.decode import decode_photo
from oodinv.imaging.encode import AS_SOURCE, OutputFormat, write_png
from oodinv.imaging.files import atomic_write
from oodinv.imaging.photo import Photo
from oodinv.imaging.pixels import Pixels, resize_pixels
from oodinv.imaging.provenance import Provenance, composite_mark, packet
from oodinv.reporting.panels import Panel, finest_flow
from oodinv.reporting.sheets import strip
from oodinv.runs.manifest import FILE_NAME, Header, header_of
from oodinv.runs.results import Results, read_flows, read_latents, read_picture
from oodinv.runs.sinks import output_names, write_artefacts
from oodinv.runs.sinks.photo import pasted, write_pasted
from oodinv.runs.sources.base import Job
from oodinv.weights.build import Model
from oodinv.workflows.invert import InvertStages


@dataclass(frozen=True, eq=False)
class InvertedPhoto:
    """A photo's inverted faces; `content` holds the bytes of its file, empty if nothing will be pasted."""

    job: Job
    faces: list[InvertedFace]
    content: bytes


@dataclass(frozen=True, eq=False)
class EditedPhoto:
    """A photo and its edited faces."""

    photo: InvertedPhoto
    faces: list[EditedFace]


def notes(results: Results, gone: int) -> tuple[str, ...]:
    """Returns notes on photos that can't be edited or pasted; `gone`: the number of missing photos."""
    found = list[str]()
    if results.failed:
        found.append(f"{_counted(results.failed)} failed when {results.path} was made; invert again to edit them too")
    if gone:
        found.append(
            f"{_counted(gone)} can't be found; only what {results.path} has of them is edited, and nothing is pasted. "
            "Put them back, or start from the folder in which they were inverted"
        )
    return tuple(found)


def _counted(photos: int) -> str:
    return f"{photos} photo{'' if photos == 1 else 's'}"


@dataclass(frozen=True)
class EditStages:
    """Edits the saved latents, flows, masks and crops of an inversion; no photo is encoded again."""

    editor: Editor
    inversion: Results
    output_format: OutputFormat = AS_SOURCE

    @property
    def made(self) -> Provenance:
        """The provenance that is written into pictures."""
        return Provenance(model=self.editor.model.card.name, recipe=self.editor.plan.summary)

    def read(self, job: Job, content: bytes) -> InvertedPhoto:
        """Reads a photo's faces from the inversion.

        Raises:
            ImageError: a file is missing or damaged, or the photo has changed since.
        """
        entry = self.inversion.entries.get(job.name)
        if entry is None:
            raise ImageError(f"{job.path}: was not inverted; {self.inversion.path}/{FILE_NAME} has the reason")
        is_photo = job.path == self.inversion.photo(entry)
        if is_photo and entry.sha256 is not None and hashlib.sha256(content).hexdigest() != entry.sha256:
            raise ImageError(f"{job.path} was changed after {self.inversion.path} was made of it; invert it again")
        aligned = bool(self.inversion.header.settings.get("aligned"))
        faces = [self._face(crop, aligned) for crop in self.inversion.crops(entry)]
        return InvertedPhoto(job, faces, content if is_photo and not aligned else b"")

    def _face(self, name: str, aligned: bool) -> InvertedFace:
        folder, model = self.inversion.path, self.editor.model
        needed = set() if model.samm is None else {f"{k}_{s}" for s in model.samm.sizes for k in ("flow", "mask")}
        return InvertedFace(
            name=name,
            crop=resize_pixels(read_picture(folder / f"aligned/{name}.png", "oodinv invert"), model.card.size),
            w_plus=read_latents(folder / f"latents/{name}.npz", model.code_shape),
            flows=read_flows(folder / f"flows/{name}.npz", "oodinv invert", needed),
            placement=None if aligned else read_placement(folder / f"aligned/{name}.json"),
            tuned=folder / f"tuned/{name}.safetensors",
        )

    def compute(self, photos: list[InvertedPhoto]) -> list[EditedPhoto]:
        """Edits the faces of several photos in one batch.

        Raises:
            OodinvError: memory is too small for one face.
        """
        done = iter(self.editor.edit([face for photo in photos for face in photo.faces]))
        return [EditedPhoto(photo, [next(done) for _ in photo.faces]) for photo in photos]

    def write(self, results: EditedPhoto, folder: Path) -> list[str]:
        """Writes the same folders as `invert`, plus `unedited`, and `strips` for sweeps.

        Raises:
            ImageError, OutputError: a file can't be written.
        """
        outputs = [output for face in results.faces for output in self._write_face(face, folder)]
        if results.photo.content:
            placement, job = results.faces[0].face.placement, results.photo.job
            photo = decode_photo(
                results.photo.content,
                job.path,
                deep=True,
                frame=job.frame or 0,
                orientation=None if placement is None else placement.orientation,
            )
            for number, variant in enumerate(self.editor.plan.variants):
                patches = [patch for face in results.faces if (patch := self.patch(face, number)) is not None]
                name = results.photo.job.name + variant.suffix
                outputs.append(write_pasted(photo, patches, folder, name, self.made, self.output_format))
        return outputs

    def patch(self, edited: EditedFace, number: int) -> Patch | None:
        """Returns the patch of one variant of a face; None if the input was a crop."""
        placement = edited.face.placement
        if placement is None:
            return None
        return Patch(placement.quad, edited.before, edited.results[number].composite, edited.flows[number])

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
            yield from write_artefacts(result, folder, frozenset(output_names()), self.made)
        if len(edited.results) > 1:
            yield (output := f"strips/{face.name}.png")
            write_png(folder / output, self._strip(edited), composite_mark(self.made))

    def _strip(self, edited: EditedFace) -> Pixels:
        labels = [variant.suffix.removeprefix("@") for variant in self.editor.plan.variants]
        results = [result.composite for result in edited.results]
        return strip([("photo", edited.face.crop), *zip(labels, results, strict=True)])

    def preview(self, photos: list[Job]) -> Iterator[Panel]:
        """Yields panels of all faces without writing or pasting anything.

        Raises:
            ImageError: a file of the inversion is missing or damaged.
        """
        for start in range(0, len(photos), self.editor.batch_size):
            read = [self.read(job, job.path.read_bytes()) for job in photos[start : start + self.editor.batch_size]]
            for photo in self.compute(read):
                for face in photo.faces:
                    for a in face.results:
                        yield Panel(a.subject.name, face.face.crop, a.composite, a.mask, finest_flow(a.flows))


def edit_header(stages: EditStages) -> Header:
    """Builds the manifest header of an `edit` run: the model, the recipe, and the inversion it starts from."""
    digest = hashlib.sha256()
    for variant in stages.editor.plan.variants:
        edit = variant.edit
        for tensor in (*edit.deltas, *(target.unit for target in edit.targets), edit.towards, edit.mixed):
            if tensor is not None:
                digest.update(tensor.cpu().numpy().tobytes())
    inversion, recipe = stages.inversion.header, stages.editor.recipe
    settings = {
        "summary": stages.editor.plan.summary,
        "recipe": recipe.model_dump(mode="json", exclude_none=True, exclude={"inputs", "output", "description"}),
        "suffixes": [variant.suffix for variant in stages.editor.plan.variants],
        "directions": digest.hexdigest(),
        "tune": 0 if stages.editor.tuner is None else stages.editor.tuner.steps,
        "dtype": stages.editor.dtype,
        "backend": stages.editor.model.backend,
        "format": asdict(stages.output_format),
        "aligned": bool(inversion.settings.get("aligned")),
        "inversion": {"settings": inversion.settings, "weights": inversion.weights},
    }
    return header_of("edit", stages.editor.model, settings)


EDITED_FROM = ("latents", "flows")
"""Artefacts that an inversion must have saved to be edited."""


def check_saved(results: Results) -> None:
    """Checks that an inversion saved the artefacts that an edit needs.

    Raises:
        ManifestError: it saved less.
    """
    saved = results.header.settings.get("save")
    missing = [name for name in EDITED_FROM if isinstance(saved, list) and name not in saved]
    if missing:
        raise ManifestError(
            f"{results.path} has no {' and '.join(missing)}, from which faces are edited; invert the photos again with "
            f"{','.join(EDITED_FROM)} among --save, or pass the photos"
        )


def check_model(model: Model, results: Results) -> None:
    """Checks that an inversion was made with this model.

    Raises:
        RecipeError: a weight file of the model differs from that of the inversion.
    """
    for role, file in model.files.items():
        made_with = results.header.weights.get(role)
        if made_with is not None and made_with != model.sha256[role]:
            raise RecipeError(
                f"{results.path} was made with {results.model} and another {role} than {file}; name the model that "
                "made it, or invert the photos again"
            )


@dataclass(frozen=True, eq=False)
class EditedFile:
    """An edited photo, ready to be written, and remarks on skipped faces."""

    photo: Photo
    remarks: list[str]


def edit_photo(inverting: InvertStages, editing: EditStages, job: Job, content: bytes) -> EditedFile:
    """Inverts and edits one photo in memory and pastes its faces back, with the same result as a run over a folder.

    Raises:
        ImageError: no readable picture. NoFaceError: no face in it, or none is selected.
    """
    portrait = inverting.read(job, content)
    (inverted,) = inverting.compute([portrait])
    faces = [InvertedFace.of(a) for a in inverted.artefacts]
    patches = [patch for face in editing.editor.edit(faces) if (patch := editing.patch(face, 0)) is not None]
    return EditedFile(pasted(portrait.decoded(), patches, editing.made), portrait.remarks)
