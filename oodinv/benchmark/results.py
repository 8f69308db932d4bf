"""From the score files of a run to tables: the same files and seed give the same tables to the last digit."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from oodinv.benchmark.cost import WARM_UP, Cost, Stage
from oodinv.benchmark.edits import WAYS
from oodinv.benchmark.score import REGIONAL
from oodinv.benchmark.stages import EDIT, Scores
from oodinv.benchmark.variants import Variant, is_blend, meaning, title
from oodinv.errors import ManifestError
from oodinv.metrics.frechet import frechet_distance
from oodinv.metrics.statistics import summarize
from oodinv.recipe.benchmark import BenchmarkRecipe, MetricName, MetricUse
from oodinv.reporting.tables import Better, Column, Row, Table, Value
from oodinv.runs import manifest
from oodinv.runs.sources.base import Job

Target = Literal["composite", "generated", "in-domain"]
TARGETS: tuple[Target, ...] = ("composite", "generated", "in-domain")

_TITLES: dict[Target, str] = {
    "composite": "Composite: what invert delivers, kept parts copied from the photo",
    "generated": "Generated picture alone: nothing copied",
    "in-domain": "In-domain part of the generated picture: weighted by 1 - M of the full method",
}
_METRICS: dict[MetricName, tuple[str, Better, int, str]] = {
    "psnr": ("PSNR dB", "higher", 2, "10 log10(peak² / MSE), mean over pictures"),
    "psnr_peak_sqrt2": ("PSNR (peak² = 2) dB", "higher", 2, "10 log10(2 / MSE on [-1, 1]): PSNR less 3.01 dB"),
    "ssim": ("SSIM", "higher", 4, "structural similarity, 11-tap Gaussian window (sigma 1.5), mean over RGB"),
    "ms_ssim": ("MS-SSIM", "higher", 4, "structural similarity over five scales, mean over RGB"),
    "mse_unit": ("MSE [0, 1]", "lower", 5, "mean squared error of pictures in [0, 1]"),
    "mse_pm1": ("L2 [-1, 1]", "lower", 4, "mean squared error of pictures in [-1, 1], four times that in [0, 1]"),
    "mae_pm1": ("MAE [-1, 1]", "lower", 4, "mean absolute error of pictures in [-1, 1]"),
    "lpips_alexnet": ("LPIPS-Alex", "lower", 4, "LPIPS v0.1 with AlexNet"),
    "lpips_vgg16": ("LPIPS-VGG", "lower", 4, "LPIPS v0.1 with VGG16"),
    "identity_sface": ("ID (SFace)", "higher", 3, "cosine similarity of SFace features of the inner face"),
    "identity_arcface": ("ID (ArcFace)", "higher", 3, "cosine similarity of ArcFace IR-SE-50 features, inner face"),
}
MASK_AREA = Column("mask_area", "mask area %", None, 1, "mean of M in percent: the share copied from the photo")
FLOW = Column("flow", "flow %", None, 2, "mean length of the flow over all sizes, in percent of the picture's width")
FRECHET = Column(
    "frechet_sface", "Fréchet (SFace)", "lower", 4, "Fréchet distance in SFace features; not FID, not comparable to it"
)
FID = Column(
    "fid", "FID", "lower", 2, "Fréchet distance in 2,048 features of InceptionV3 (2015-12-05); needs more pictures"
)
COUNT = Column("n", "n", None, 0, "pictures measured")


@dataclass(frozen=True)
class Outcome:
    """What came of one model: scores and strips of pictures by photo, its variants, notes, and its folder."""

    model: str
    folder: Path
    variants: list[Variant]
    scores: dict[str, Scores]
    notes: tuple[str, ...]


def collect_scores(model: str, folder: Path, variants: list[Variant], jobs: list[Job], notes: Iterable[str]) -> Outcome:
    """The scores that a run left in a folder, in the order of the jobs; photos that failed are missing.

    Raises:
        ManifestError: a score file is gone or damaged.
    """
    found = manifest.read(folder)
    entries = {} if found is None else found[1]
    done = [job.name for job in jobs if job.name in entries and entries[job.name].status == "done"]
    return Outcome(model, folder, variants, {name: _read_scores(folder, name) for name in done}, tuple(notes))


def _read_scores(folder: Path, name: str) -> Scores:
    path = folder / "scores" / f"{name}.json"
    try:
        scores: Scores = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: expected the scores of a photo ({error}); use --restart") from error
    return scores


def column(use: MetricUse) -> Column:
    """How a metric stands in tables."""
    name, better, digits, words = _METRICS[use.metric]
    size = "at the model's size" if use.size is None else f"on pictures resized to {use.size} px"
    heading = name if use.size is None else f"{name} @{use.size}"
    return Column(use.key, heading, better, digits, f"{words}; {size}")


def score_tables(recipe: BenchmarkRecipe, outcomes: list[Outcome], count: int | None) -> list[Table]:
    """One table for each target; the first has the published rows too."""
    return [_table(recipe, outcomes, target, count) for target in TARGETS]


def _table(recipe: BenchmarkRecipe, outcomes: list[Outcome], target: Target, expected: int | None) -> Table:
    uses = [u for u in recipe.metrics if target != "in-domain" or u.metric in REGIONAL]
    columns = [column(use) for use in uses]
    notes = [recipe.protocol] if target == "composite" else []
    rows = [
        _row(recipe, outcome, variant, target, columns)
        for outcome in outcomes
        for variant in outcome.variants
        if target == "composite" or not is_blend(variant)
    ]
    if target == "composite":
        if any(FRECHET.key in row.values for row in rows):
            columns.append(FRECHET)
        columns += [FID] if recipe.fid else []
        columns += [Column(k, v, None, 3, f"{v}, as published") for k, v in recipe.published_columns.items()]
        published = [Row((p.method, "published"), _published(p.values), True) for p in recipe.published]
        rows += published
        notes += _notes(recipe, outcomes, expected)
    columns += [MASK_AREA, FLOW, COUNT]
    return Table(f"scores-{target}", _TITLES[target], ("model", "variant"), tuple(columns), tuple(rows), tuple(notes))


def _published(values: dict[str, float]) -> dict[str, Value]:
    return {key: Value(value) for key, value in values.items()}


def _notes(recipe: BenchmarkRecipe, outcomes: list[Outcome], expected: int | None) -> list[str]:
    notes = ["mean ± standard error over pictures; bold: best measured value; arrows: which side is better."]
    variants = dict.fromkeys(v for outcome in outcomes for v in outcome.variants)
    notes.append("Variants: " + "; ".join(f"{title(v)}: {meaning(v)}" for v in variants) + ".")
    if recipe.published:
        notes.append(f"† published by others, not measured here: {recipe.published_source}.")
    for outcome in outcomes:
        if expected is not None and len(outcome.scores) != expected:
            measured = len(outcome.scores)
            notes.append(f"{outcome.model}: {measured} pictures measured, the protocol has {expected}.")
        notes += [f"{outcome.model}: {note}" for note in outcome.notes]
    return notes


def series(outcome: Outcome, variant: Variant, target: str, key: str) -> list[float | None]:
    """One score of every photo, in order."""
    name = title(variant)
    return [scores[name].get(target, {}).get(key) for scores in outcome.scores.values()]


def _row(recipe: BenchmarkRecipe, outcome: Outcome, variant: Variant, target: Target, columns: Sequence[Column]) -> Row:
    values = {}
    for where, key, scale in (
        *((target, c.key, 1.0) for c in columns),
        ("alignment", MASK_AREA.key, 100.0),
        ("alignment", FLOW.key, 100.0),
    ):
        scaled = [None if v is None else v * scale for v in series(outcome, variant, where, key)]
        found = summarize(scaled, seed=recipe.seed, resamples=recipe.resamples)
        if found is not None:
            values[key] = Value(found.mean, found.error, found.low, found.high, found.count)
    for column, prefix in ((FRECHET, ""), (FID, "inception-")):
        if target == "composite" and (distance := _frechet(outcome, variant, prefix)) is not None:
            values[column.key] = Value(distance, count=len(outcome.scores))
    values[COUNT.key] = Value(len(outcome.scores))
    return Row((outcome.model, title(variant)), values)


def _frechet(outcome: Outcome, variant: Variant, prefix: str) -> float | None:
    """Distance of a variant's composites from the photos; None where there are too few, or no features."""
    files = [outcome.folder / "features" / f"{name}.npz" for name in outcome.scores]
    if not files or not all(file.is_file() for file in files):
        return None
    found = []
    for file in files:
        with np.load(file, allow_pickle=False) as arrays:
            if prefix + "reference" not in arrays:
                return None
            found.append((arrays[prefix + "reference"], arrays[prefix + title(variant)]))
    references, results = (np.stack(side) for side in zip(*found, strict=True))
    if len(results) <= results.shape[1]:
        return None
    return frechet_distance(references, results)


# ---------------------------------------------------------------------------------------------------------
# Edits

_EDIT_COLUMNS = (
    Column("identity", "ID (SFace)", "higher", 3, "cosine similarity of SFace features of photo and edited composite"),
    Column(
        "moved",
        "moved (codes)",
        None,
        2,
        "change of the composite's codes, encoded again, along what the edit asked for: 1 is all of it, 0 nothing. "
        "Encoder and direction are those that made the edit, so this is no independent judge",
    ),
    Column(
        "leak",
        "leak (codes)",
        "lower",
        2,
        "mean size of the change along the model's other directions, in their strengths, of codes encoded again",
    ),
    Column(
        "points_smile",
        "smile (points)",
        None,
        4,
        "change of the mouth's width in eye distances, from points that YuNet finds in the composites: independent",
    ),
    Column(
        "points_yaw",
        "yaw (points)",
        None,
        4,
        "change of the nose's place between the eyes in eye distances, positive to the picture's right, from YuNet's "
        "points: independent",
    ),
    Column("found", "face found", "higher", 2, "share of edited composites in which YuNet finds a face"),
    Column(
        "change",
        "change in face",
        None,
        4,
        "mean absolute difference on [-1, 1] of the composites with and without the edit, in the in-domain part of the "
        "face: how much of the edit is to be seen",
    ),
    Column("outside", "MAE outside face", "lower", 4, "mean absolute error to the photo on [-1, 1], around the face"),
    Column("kept", "MAE in M", "lower", 4, "mean absolute error to the photo on [-1, 1] where M keeps the photo"),
)


def edit_table(recipe: BenchmarkRecipe, outcomes: list[Outcome]) -> Table | None:
    """One row for each edit in each way; None where none was carried out."""
    rows = [
        Row((outcome.model, edit.removeprefix(EDIT), way), _edit_values(recipe, outcome, edit, way))
        for outcome in outcomes
        for edit, ways in edits_of(outcome).items()
        for way in ways
    ]
    if not rows:
        return None
    attributes = dict.fromkeys(key for row in rows for key in row.values if key.startswith("codes_"))
    named = ((key, key.removeprefix("codes_")) for key in attributes)
    each = tuple(
        Column(key, f"{name} (codes)", None, 2, f"change along the direction {name} in its strengths, as for moved")
        for key, name in named
    )
    used = dict.fromkeys(row.labels[2] for row in rows)
    notes = (
        "mean ± standard error over photos; arrows: which side is better, among the ways of one edit.",
        "Rows: " + "; ".join(f"{way}: {words}" for way, words in WAYS.items() if way in used) + ".",
        "Codes of directions are told apart by least squares over all of the model's directions at once.",
    )
    title = "Edits: what they move, and what they leave alone"
    return Table(
        "scores-edits", title, ("model", "edit", "way"), (*_EDIT_COLUMNS, *each, COUNT), tuple(rows), notes, False
    )


def edits_of(outcome: Outcome) -> dict[str, list[str]]:
    """Keys of the edits among an outcome's scores, with their ways."""
    first = next(iter(outcome.scores.values()), {})
    return {name: list(ways) for name, ways in first.items() if name.startswith(EDIT)}


def _edit_values(recipe: BenchmarkRecipe, outcome: Outcome, edit: str, way: str) -> dict[str, Value]:
    records = [scores[edit][way] for scores in outcome.scores.values()]
    values = {COUNT.key: Value(len(records))}
    for key in records[0]:
        found = summarize([record.get(key) for record in records], seed=recipe.seed, resamples=recipe.resamples)
        if found is not None:
            values[key] = Value(found.mean, found.error, found.low, found.high, found.count)
    return values


# ---------------------------------------------------------------------------------------------------------
# Cost


_STAGES: dict[Stage, str] = {
    "read": "decoding a photo, finding its face and cropping it",
    "encode": "encoder",
    "generate": "generator with alignment, masks and composite",
}


def cost_table(costs: list[tuple[str, Cost]]) -> Table:
    """Seconds a picture by stage, pictures a second, peak memory; `costs` are (model, cost)."""
    columns = [
        part
        for stage, words in _STAGES.items()
        for part in (
            Column(f"{stage}_median", f"{stage} s", "lower", 4, f"{words}: seconds a picture, median"),
            Column(f"{stage}_p95", f"{stage} p95", "lower", 4, f"{words}: seconds a picture, 95th percentile"),
        )
    ]
    columns += [
        Column("images_per_second", "images/s", "higher", 2, "encoder and generator, one picture at a time"),
        Column(
            "memory", "peak MB", "lower", 0, "peak memory: of the GPU's allocator, or of the whole process on a CPU"
        ),
    ]
    rows = [Row((model, cost.variant, cost.device), _cost_values(cost)) for model, cost in costs]
    images = costs[0][1].images if costs else 0
    notes = (f"{images} pictures, one at a time, after {WARM_UP} as warm-up; the clock waits for the device.",)
    return Table("cost", "Cost", ("model", "variant", "device"), tuple(columns), tuple(rows), notes)


def _cost_values(cost: Cost) -> dict[str, Value]:
    values = {}
    for stage in _STAGES:
        values[f"{stage}_median"] = Value(cost.median(stage), count=cost.images)
        values[f"{stage}_p95"] = Value(cost.p95(stage), count=cost.images)
    values["images_per_second"] = Value(cost.images_per_second, count=cost.images)
    if cost.memory is not None:
        values["memory"] = Value(cost.memory / 1e6)
    return values
