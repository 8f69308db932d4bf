"""Scores of edits: the change along their directions, and side effects on identity, background and other attributes.

Each edit recipe is applied as by `oodinv edit`, and again with one setting changed at a time (`ways`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from oodinv import directions
from oodinv.benchmark.score import to_batch
from oodinv.compositing.techniques import TECHNIQUES
from oodinv.directions import measures
from oodinv.editing.apply import Editor, inverted_faces
from oodinv.editing.plan import EditPlan, EditVariant, prepare
from oodinv.errors import RecipeError
from oodinv.faces.detectors.base import Detector
from oodinv.faces.parts import FACE_PARTS, PartMap, part_weight
from oodinv.fitting.tuning import Tuner, tuner_for
from oodinv.imaging.pixels import Pixels
from oodinv.inversion import DTYPES, Dtype, Inversion, encode
from oodinv.metrics import pixel
from oodinv.metrics.identity import Sface, identity
from oodinv.recipe.edit import EditRecipe, read_edit_recipe
from oodinv.records import names
from oodinv.weights.build import Model

WAYS: dict[str, str] = {
    "no edit": "the unedited inversion, composed as the recipe says; with all detail restored, the photo",
    "recipe": "the recipe unchanged",
    "edited-pass": "flow and mask computed on the edited pass",
    "unedited-pass": "flow and mask of the unedited inversion",
    "no-detail": "without restoring detail and colour of the photo",
} | {choice.name: f"joined {choice.summary}" for choice in TECHNIQUES}
ASKED = 0.05
"""Strength below which an attribute is treated as not edited."""

EditScores = dict[str, dict[str, list[float]]]
"""By edit and "way/metric", one value for each photo."""


@dataclass(frozen=True, eq=False)
class Attributes:
    """Directions along which codes are measured; units (K, num_ws · w_dim): change of the codes by strength 1."""

    names: tuple[str, ...]
    units: Tensor

    def of(self, moved: Tensor) -> Tensor:
        """Fits strengths (B, K) of all directions to differences of codes (B, num_ws, w_dim), by least squares."""
        units = self.units.to(moved.device)
        flat = moved.double().flatten(1)
        found: Tensor = torch.linalg.solve(units @ units.t(), units @ flat.t()).t()
        return found


@dataclass(frozen=True, eq=False)
class Trial:
    """An edit recipe with one setting changed.

    edit: name of the recipe. way: the changed setting, for tables. variant: the recipe resolved for a model.
    """

    edit: str
    way: str
    recipe: EditRecipe
    variant: EditVariant


@dataclass(frozen=True, eq=False)
class Trials:
    """All trials of a model, the directions that changes are measured along, and the networks that measure."""

    trials: list[Trial]
    attributes: Attributes
    detector: Detector
    sface: Sface
    tuner: Tuner | None

    def record(self) -> dict[str, Any]:
        """Returns all settings that scores depend on, for the manifest."""
        digest = hashlib.sha256(self.attributes.units.numpy().tobytes())
        for trial in self.trials:
            edit = trial.variant.edit
            for moved in [*edit.deltas, *(target.unit for target in edit.targets)]:
                digest.update(moved.numpy().tobytes())
        tried = {f"{t.edit} {t.way}": t.recipe.model_dump(mode="json", exclude={"description"}) for t in self.trials}
        steps = 0 if self.tuner is None else self.tuner.steps
        return {"tried": tried, "directions": digest.hexdigest(), "tune": steps}


def ways(recipe: EditRecipe, has_samm: bool) -> dict[str, EditRecipe]:
    """The recipe unchanged, and with one setting changed at a time: source of the mask, technique, detail."""
    how = recipe.compose
    found: dict[str, EditRecipe] = {"recipe": recipe}
    if has_samm:
        other: Literal["edited", "unedited"] = "edited" if recipe.mask == "unedited" else "unedited"
        way: str = "edited-pass" if other == "edited" else "unedited-pass"
        found[way] = recipe.model_copy(update={"mask": other})
        for technique in names(TECHNIQUES):
            if technique != how.technique:
                changed = how.model_copy(update={"technique": technique})
                found[technique] = recipe.model_copy(update={"compose": changed})
    if how.detail or how.colour:
        bare = how.model_copy(update={"detail": 0.0, "colour": 0.0})
        found["no-detail"] = recipe.model_copy(update={"compose": bare})
    return found


def plan_trials(paths: Sequence[Path], model: Model, detector: Detector, sface: Sface) -> Trials:
    """Reads edit recipes for a model.

    Raises:
        RecipeError: one doesn't validate, needs other people's codes, or names a direction that doesn't exist.
    """
    trials = list[Trial]()
    chosen: dict[str, directions.Direction] = {
        name: directions.read(path) for name, path in directions.shipped(model.card.name).items()
    }
    for path in paths:
        recipe = read_edit_recipe(path)
        if recipe.mix is not None or recipe.interpolate is not None or not recipe.edits:
            raise RecipeError(f"{path}: the benchmark measures edits along directions; name some, leave out mix and "
                              "interpolate")  # fmt: skip
        plan = prepare(recipe, path, model, [1.0], force=True)
        for variant in plan.variants:
            name = path.stem + variant.suffix
            trials += [Trial(name, way, r, variant) for way, r in ways(recipe, model.samm is not None).items()]
        for step in recipe.edits:
            found = directions.find(step.direction, model.card, *model.code_shape, path.parent)
            chosen.setdefault(found.name, found)
    units = torch.stack([d.delta(1.0).double().flatten() for d in chosen.values()])
    return Trials(trials, Attributes(tuple(chosen), units), detector, sface, tuner_for(model, None))


# ---------------------------------------------------------------------------------------------------------
# Applying and measuring edits


@dataclass(frozen=True, eq=False)
class Tried:
    """Scores of every edit of a batch, and the pictures of each photo: unedited, then by each recipe."""

    scores: EditScores
    pictures: list[list[Pixels]]


def carry_out(
    trials: Trials, model: Model, device: torch.device, dtype: Dtype, crops: list[Pixels],
    full: Inversion,
) -> Tried:  # fmt: skip
    """Carries out all trials on inverted crops uint8 (S, S, 3) and measures the results."""
    faces = inverted_faces(crops, full)
    start = torch.from_numpy(np.stack([face.w_plus for face in faces])).to(device)
    seen = to_batch(crops, device)
    scores: EditScores = {}
    pictures: list[list[Pixels]] = [[] for _ in crops]
    measure = _Measure(trials, model, dtype, seen, full.mask.float(), [face.parts for face in faces])
    for trial in trials.trials:
        plan = EditPlan([trial.variant], trial.edit, ())
        editor = Editor(model, device, dtype, "fixed", len(faces), trial.recipe, plan, trials.tuner)
        edited = editor.edit(faces)
        before, after = [face.before for face in edited], [face.results[0].composite for face in edited]
        codes = torch.from_numpy(np.stack([face.results[0].w_plus for face in edited])).to(device)
        found = scores.setdefault(trial.edit, {})
        if trial.way == "recipe":
            found |= {f"no edit/{key}": values for key, values in measure.picture(before).items()}
            for row, first, last in zip(pictures, before, after, strict=True):
                row += [last] if row else [first, last]
        values = measure.picture(after) | measure.change(before, after, codes - start)
        found |= {f"{trial.way}/{key}": v for key, v in values.items()}
    return Tried(scores, pictures)


class _Measure:
    """Measures of edited crops uint8 (S, S, 3) of one batch; the photos and their masks are the same for all."""

    def __init__(
        self, trials: Trials, model: Model, dtype: Dtype, seen: Tensor, mask: Tensor, parts: Sequence[PartMap]
    ) -> None:
        self._trials, self._model, self._dtype, self._sface = trials, model, dtype, trials.sface
        self._seen, self._mask = seen, mask
        weights = np.stack([part_weight(one, (*FACE_PARTS, "hair"), model.card.size) for one in parts])
        self._face = torch.from_numpy(weights)[:, None].to(seen.device)
        self._person = trials.sface.embed(seen)

    def picture(self, crops: list[Pixels]) -> dict[str, list[float]]:
        """Similarity of results to their photos: identity, and errors where an edit should change nothing."""
        images = to_batch(crops, self._seen.device)
        return {
            "identity": identity(self._person, self._sface.embed(images)).tolist(),
            "outside": pixel.mae_pm1(self._seen, images, 1 - self._face).tolist(),
            "kept": pixel.mae_pm1(self._seen, images, self._mask).tolist(),
        }

    def change(self, before: list[Pixels], after: list[Pixels], asked: Tensor) -> dict[str, list[float]]:
        """Changes between composites, compared with the requested change of codes (B, num_ws, w_dim)."""
        first, last = (to_batch(crops, self._seen.device) for crops in (before, after))
        in_domain = self._face * (1 - self._mask)
        values = {"change": pixel.mae_pm1(first, last, in_domain).tolist()}
        return values | self._codes(first, last, asked) | self._points(before, after)

    def _codes(self, before: Tensor, after: Tensor, asked: Tensor) -> dict[str, list[float]]:
        attributes, dtype = self._trials.attributes, DTYPES[self._dtype]
        codes = [encode(self._model, images, dtype).w_plus.float() for images in (before, after)]
        moved, wanted = attributes.of(codes[1] - codes[0]), attributes.of(asked)
        aimed = wanted.abs() >= ASKED
        share = (moved * wanted * aimed).sum(dim=1) / (wanted * aimed).square().sum(dim=1)
        leak = (moved.abs() * ~aimed).sum(dim=1) / (~aimed).sum(dim=1)
        each = {f"codes_{name}": moved[:, n].tolist() for n, name in enumerate(attributes.names)}
        return {"moved": share.tolist(), "leak": leak.tolist(), **each}

    def _points(self, before: list[Pixels], after: list[Pixels]) -> dict[str, list[float]]:
        first, last = ([measures.of_largest(self._trials.detector, crop) for crop in some] for some in (before, after))
        pairs = list(zip(first, last, strict=True))
        differences = {
            f"points_{name}": [np.nan if a is None or b is None else b[name] - a[name] for a, b in pairs]
            for name in ("smile", "yaw")
        }
        return {"found": [float(b is not None) for _, b in pairs], **differences}
