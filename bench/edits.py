"""Measures the shipped edit recipes on faces that neither training nor the fit of directions saw.

    python bench/edits.py UTKFACE [--model NAME] [--refine N] [--faces 200] [--judges 2700] [--json] [--sheet FOLDER]

UTKFACE: labelled faces, AGE_SEX_ETHNICITY_DATE.jpg. Age and sex are told by regressions on SFace's features and on
principal components of pixels, trained on faces that the directions were not fitted to; smile (mouth width over eye
distance) and yaw by YuNet's points, and where MediaPipe is installed (`face_mesh`), width and opening of the mouth and
degrees of yaw by its landmarks too. Prints for each recipe, over five strengths (the low end of its safe range, half of
that, 0, 1, and the high end): the share of faces whose attribute rises at every step, and from 0 to 1, the mean rise
from end to end, from 0 to 1 and from 0 to the high end, the share whose apparent sex flips from the second to the
fourth, SFace's similarity to the photo at 1, the fine detail of the inner face at 1 as a multiple of the photo's, and
the mean change in grey levels outside the face and on text that is pasted on. Faces are refined as `oodinv invert`
does, those with text are not.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import face_mesh
import numpy as np
import torch
from numpy.typing import NDArray

from oodinv import DEFAULT_MODEL
from oodinv.directions import measures
from oodinv.directions.fit import Score, fit_score
from oodinv.directions.labels import from_names
from oodinv.directions.ranges import strength_range
from oodinv.directions.regress import Array, Components, determination, discrimination, principal_components
from oodinv.editing.apply import EditedFace, Editor, InvertedFace, inverted_faces
from oodinv.editing.plan import prepare
from oodinv.errors import ImageError
from oodinv.faces.align import align
from oodinv.faces.detectors.yunet import Yunet
from oodinv.faces.geometry import inner_box
from oodinv.faces.parts import FACE_PARTS, part_weight
from oodinv.faces.selection import LARGEST
from oodinv.fitting.refinement import refiner_for
from oodinv.fitting.tuning import tuner_for
from oodinv.imaging.decode import decode_photo
from oodinv.imaging.encode import write_png
from oodinv.imaging.pixels import Pixels, luma, resize_pixels, to_tensor
from oodinv.inversion import invert
from oodinv.metrics.identity import Sface, identity
from oodinv.recipe.directions import find_fit_recipe
from oodinv.recipe.edit import find_edit_recipe, read_edit_recipe
from oodinv.reporting.sheets import strip
from oodinv.runs.collect import collect
from oodinv.runs.sources.base import Job
from oodinv.training.occluders import occlude
from oodinv.training.photos import is_held_out
from oodinv.weights.build import Model, load_named
from oodinv.weights.pull import pull
from oodinv.workflows.encode import sample

RECIPES = {"older": "age", "feminine": "sex", "smile": "smile", "turn-right": "yaw"}
MESHED = {"smile": ("width", "opening"), "yaw": ("yaw",)}
"""Measures by MediaPipe's landmarks (`face_mesh.Seen`) of each edited attribute."""
FINE = 1 / 8
"""Cycles a pixel from which detail is fine."""
PIXEL_COMPONENTS = 80
PIXELS_SIDE = 128
BATCH = 2
ADULTS = 15
"""Younger faces are left out, as they are from the fit."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A crop uint8 (S, S, 3) with the age in years and the sex (1 female) that its file's name says."""

    crop: Pixels
    age: float
    sex: float


@dataclass(frozen=True, eq=False)
class Judge:
    """Tells age and sex of crops, without the model under test."""

    sface: Sface
    pixels: Components
    age: Score
    sex: Score

    def features(self, crops: list[Pixels]) -> Array:
        return features(self.sface, self.pixels, crops)


def features(sface: Sface, pixels: Components, crops: list[Pixels]) -> Array:
    """SFace's features and coordinates of pixels, (N, 128 + P), each of about unit variance."""
    embedded = torch.cat([sface.embed(to_tensor(crop)) for crop in crops]).numpy() * np.sqrt(128)
    return np.hstack([embedded, pixels.project(flat(crops))])


def flat(crops: list[Pixels]) -> Array:
    """Grey crops of PIXELS_SIDE as rows, (N, PIXELS_SIDE²)."""
    small = (resize_pixels(crop, PIXELS_SIDE).astype(np.float32) for crop in crops)
    return np.stack([luma(crop).ravel() for crop in small]).astype(np.float64)


def labelled(jobs: list[Job], detector: Yunet, model: Model, only_held_out: bool) -> Iterator[Labelled]:
    """Adults among the photos; files without a face or without labels are left out."""
    table = from_names("age_sex", tuple(job.path.name for job in jobs))
    for job, age, sex in zip(jobs, table["age"], table["sex"], strict=True):
        content = job.path.read_bytes()
        if not age >= ADULTS or sex not in (0, 1) or is_held_out(content) != only_held_out:
            continue
        try:
            face = align(
                decode_photo(content, job.path).pixels, detector, model.card.size, model.card.crop.quad, LARGEST
            )
        except ImageError:
            continue
        yield Labelled(face.faces[0].crop, age, sex)


def train_judge(faces: list[Labelled], sface: Sface) -> tuple[Judge, dict[str, float]]:
    """A judge of three quarters of the faces, and how good it is on the last quarter."""
    cut = len(faces) * 3 // 4
    crops = [face.crop for face in faces]
    age, sex = (np.array([getattr(face, name) for face in faces]) for name in ("age", "sex"))
    pixels = principal_components(flat(crops[:cut]), PIXEL_COMPONENTS)
    x = features(sface, pixels, crops)
    told = fit_score(x[:cut], age[:cut], False)
    slope = float(np.polyfit(age[cut:], told.of(x[cut:]), 1)[0])
    judge = Judge(sface, pixels, calibrated(told, slope), fit_score(x[:cut], sex[:cut], True))
    quality = {
        "age_slope": slope,
        "age_R2": determination(told.of(x[cut:]), age[cut:]),
        "age_error_years": float(np.abs(told.of(x[cut:]) - age[cut:]).mean()),
        "sex_AUC": discrimination(judge.sex.of(x[cut:]), sex[cut:]),
    }
    return judge, quality


def calibrated(score: Score, slope: float) -> Score:
    """A score of which a difference of one year is one, where that of `score` is `slope`.

    Regression pulls towards the mean, which is best for the age of one face, and too small for differences.
    """
    return replace(score, weights=score.weights / slope)


def inverted(model: Model, crops: list[Pixels], steps: int | None, tuned: Path) -> list[InvertedFace]:
    """Faces as `oodinv invert --refine STEPS` saves and `oodinv edit` reads them. tuned: folder for tuned weights."""
    refiner = refiner_for(model, steps)
    parts = [crops[start : start + BATCH] for start in range(0, len(crops), BATCH)]
    batches = [torch.cat([to_tensor(crop) for crop in part]) for part in parts]
    found = [inverted_faces(p, invert(model, b, refiner=refiner)) for p, b in zip(parts, batches, strict=True)]
    faces = [face for part in found for face in part]
    return [replace(face, tuned=tuned / f"{number}.safetensors") for number, face in enumerate(faces)]


def strengths(name: str, model: str) -> list[float]:
    """Five rising strengths of a recipe within its safe range, from its lowest to its highest; among them 0 and 1.

    A recipe with a dye has no strengths below 0.
    """
    low, high = strength_range(read_edit_recipe(find_edit_recipe(name)), model) or (-2.0, 2.0)
    return [low, low / 2, 0.0, 1.0, high] if low < 0 else [0.0, 0.5, 1.0, (1 + high) / 2, high]


def edited(model: Model, name: str, faces: list[InvertedFace], strengths: list[float]) -> list[EditedFace]:
    """What `oodinv edit --recipe NAME --strength …` makes of faces."""
    path = find_edit_recipe(name)
    recipe = read_edit_recipe(path)
    plan = prepare(recipe, path, model, strengths)
    tuner = tuner_for(model, recipe.tune)
    return Editor(model, torch.device("cpu"), "float32", "fixed", BATCH, recipe, plan, tuner).edit(faces)


def points(detector: Yunet, crop: Pixels, name: str) -> float:
    """smile or yaw of the largest face of a crop that is enlarged; NaN where there is none."""
    found = measures.of_largest(detector, resize_pixels(crop, 256))
    return np.nan if found is None else found[name]


def told(judge: Judge, detector: Yunet, attribute: str, crops: list[Pixels]) -> Array:
    """The attribute of each crop, (N,)."""
    if attribute in ("smile", "yaw"):
        return np.array([points(detector, crop, attribute) for crop in crops])
    score: Score = getattr(judge, attribute)
    return score.of(judge.features(crops))


def fine_detail(crop: Pixels) -> float:
    """Energy of the inner face's luma above 1/8 of the sampling rate, which is where pores and wrinkles are."""
    left, top, right, bottom = inner_box(len(crop))
    grey = luma(crop[top:bottom, left:right].astype(np.float32))
    window = np.outer(*(np.hanning(side) for side in grey.shape))
    across, down = np.meshgrid(*(np.fft.fftfreq(side) for side in reversed(grey.shape)))
    energy = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    return float(energy[np.hypot(across, down) > FINE].sum())


def rises(values: Array, factors: list[float]) -> dict[str, float]:
    """values (N, 5) over the `strengths`: the share of rows that rise at each step, and mean rises."""
    whole = values[np.isfinite(values).all(axis=1)]
    none, one = factors.index(0), factors.index(1)
    return {
        "measured": float(len(whole)),
        "monotonic": float((np.diff(whole, axis=1) > 0).all(axis=1).mean()),
        "rising_to_1": float((whole[:, one] > whole[:, none]).mean()),
        "rise": float((whole[:, -1] - whole[:, 0]).mean()),
        "rise_to_1": float((whole[:, one] - whole[:, none]).mean()),
        "rise_to_end": float((whole[:, -1] - whole[:, none]).mean()),
    }


def judged(
    model: Model, judge: Judge, detector: Yunet, name: str, faces: list[InvertedFace], texts: list[InvertedFace],
    wheres: NDArray[np.float32], sheet: Path | None,
) -> dict[str, float]:  # fmt: skip
    """All measures of one recipe."""
    factors = strengths(name, model.card.name)
    results = edited(model, name, faces, factors)
    none, one = factors.index(0), factors.index(1)
    columns = [[face.results[k].composite for face in results] for k in range(len(factors))]
    found = rises(np.stack([told(judge, detector, RECIPES[name], crops) for crops in columns], axis=1), factors)
    if RECIPES[name] in MESHED and face_mesh.is_installed():
        mesh = face_mesh.load()
        seen = [[mesh(crop) for crop in crops] for crops in columns]
        for measured in MESHED[RECIPES[name]]:
            values = np.array([[getattr(one, measured) for one in row] for row in seen]).T
            found |= {f"{measured}_{key}": value for key, value in rises(values, factors).items()}
    before, after = (judge.sex.of(judge.features(columns[k])) > 0 for k in (none, one))
    photos, plus = (torch.cat([to_tensor(c) for c in some]) for some in ([f.crop for f in faces], columns[one]))
    inside = np.stack([part_weight(face.parts, (*FACE_PARTS, "hair"), model.card.size, reach=1 / 32) for face in faces])
    change = np.abs(np.stack(columns[one]).astype(float) - np.stack([face.crop for face in faces])).mean(axis=3)
    written = np.stack([face.results[0].composite for face in edited(model, name, texts, [1.0])]).astype(float)
    kept = np.abs(written - np.stack([face.crop for face in texts])).mean(axis=3)[wheres > 0.95]
    if sheet is not None:
        rows = [strip([("photo", face.crop), *zip(map("{:+g}".format, factors), row, strict=True)])
                for face, row in zip(faces[:14], zip(*columns, strict=True), strict=False)]  # fmt: skip
        write_png(sheet / f"{name}.png", np.vstack(rows), b"")
    return found | {
        "sex_flips": float((before != after).mean()),
        "identity": float(identity(judge.sface.embed(photos), judge.sface.embed(plus)).mean()),
        "detail": float(
            np.mean([fine_detail(a) / fine_detail(f.crop) for a, f in zip(columns[one], faces, strict=True)])
        ),
        "outside_levels": float(change[inside < 0.01].mean()),
        "text_levels": float(kept.mean()),
    }


def measure(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """All that this script prints."""
    model = load_named(options.model)
    detector, exact = Yunet(pull("yunet"), quick=True), Yunet(pull("yunet"))
    sface = Sface(pull("sface"), model.card.crop.scale)
    jobs = collect([options.utkface])
    limit = find_fit_recipe(DEFAULT_MODEL).sources["utk"].limit
    fitted = {job.path for job in sample(jobs, limit)}
    unseen = sample([job for job in jobs if job.path not in fitted], len(jobs) - 1)
    unseen = [unseen[n] for n in np.random.default_rng(0).permutation(len(unseen))]
    trained = list(islice(labelled(unseen, detector, model, False), options.judges))
    judge, quality = train_judge(trained, sface)
    crops = [face.crop for face in islice(labelled(unseen, detector, model, True), options.faces)]
    rng = np.random.default_rng(0)
    pasted = [occlude(crop, rng, "text", "plain") for crop in crops]
    wheres = np.stack([some.where for some in pasted])
    found = {"judge": quality | {"faces": float(len(crops)), "trained_on": float(len(trained))}}
    with tempfile.TemporaryDirectory() as folder:
        faces = inverted(model, crops, options.refine, Path(folder, "faces"))
        texts = inverted(model, [some.pixels for some in pasted], 0, Path(folder, "texts"))
        for name in RECIPES:
            found[name] = judged(model, judge, exact, name, faces, texts, wheres, options.sheet)
            print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the shipped edit recipes on held-out faces.")
    parser.add_argument("utkface", type=Path, help="folder of faces called AGE_SEX_ETHNICITY_DATE.jpg")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or card")
    parser.add_argument("--refine", type=int, help="steps; by default the card's")
    parser.add_argument("--faces", type=int, default=200, help="held-out faces to edit, at most")
    parser.add_argument("--judges", type=int, default=2700, help="faces that the judge of age and sex learns from")
    parser.add_argument("--sheet", type=Path, help="folder for strips of the first faces, to look at")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = measure(options)
    if options.json:
        print(json.dumps(found))
        return
    for name, values in found.items():
        print(name)
        for key, value in values.items():
            print(f"  {key:16} {value:.4f}")


if __name__ == "__main__":
    main()
