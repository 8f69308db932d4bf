"""Tables of scores from the score files of a run; the same files and seed give identical tables."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from oodinv.benchmark.ablations import Ablation
from oodinv.benchmark.stages import Scores, feature_key
from oodinv.errors import ManifestError
from oodinv.metrics import find_distance, find_metric
from oodinv.metrics.frechet import frechet_distance
from oodinv.metrics.statistics import summarize
from oodinv.recipe.benchmark import BenchmarkRecipe, MetricUse
from oodinv.reporting.tables import Column, Table, TableRow, Value
from oodinv.runs import manifest
from oodinv.runs.sources.base import Job

Scope = Literal["composite", "generated", "in-domain"]
"""The part of a result that is scored."""
SCOPES: tuple[Scope, ...] = ("composite", "generated", "in-domain")

_TITLES: dict[Scope, str] = {
    "composite": "Composite: the result of invert, with out-of-domain parts copied from the photo",
    "generated": "Generated picture alone",
    "in-domain": "In-domain part of the generated picture: weighted by 1 - M of the full method",
}
MASK_AREA = Column("mask_area", "mask area %", None, 1, "mean of M in percent: the share copied from the photo")
FLOW = Column("flow", "flow %", None, 2, "mean length of the flow over all sizes, in percent of the picture's width")
COUNT = Column("n", "n", None, 0, "pictures measured")


@dataclass(frozen=True)
class Outcome:
    """Result of one model: its folder, ablations, scores by photo, and notes."""

    model: str
    folder: Path
    ablations: list[Ablation]
    scores: dict[str, Scores]
    notes: tuple[str, ...]


def collect_scores(
    model: str, folder: Path, ablations: list[Ablation], jobs: list[Job], notes: Iterable[str]
) -> Outcome:
    """Reads the scores of a run, in the order of the jobs; photos that failed are missing.

    Raises:
        ManifestError: a score file is gone or damaged.
    """
    found = manifest.read(folder)
    entries = {} if found is None else found[1]
    done = [job.name for job in jobs if job.name in entries and entries[job.name].status == "done"]
    return Outcome(model, folder, ablations, {name: _read_scores(folder, name) for name in done}, tuple(notes))


def _read_scores(folder: Path, name: str) -> Scores:
    path = folder / "scores" / f"{name}.json"
    try:
        scores: Scores = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: expected the scores of a photo ({error}); use --restart") from error
    return scores


def column(use: MetricUse) -> Column:
    """The table column of a metric."""
    metric = find_metric(use.metric)
    size = "at the model's size" if use.size is None else f"on pictures resized to {use.size} px"
    heading = metric.title if use.size is None else f"{metric.title} @{use.size}"
    return Column(use.key, heading, metric.better, metric.digits, f"{metric.meaning}; {size}")


def distance_columns(recipe: BenchmarkRecipe) -> list[Column]:
    """The table columns of a protocol's distances between sets of pictures."""
    found = map(find_distance, recipe.distances)
    return [Column(d.name, d.title, "lower", d.digits, d.meaning) for d in found]


def score_tables(recipe: BenchmarkRecipe, outcomes: list[Outcome], count: int | None) -> list[Table]:
    """One table for each scope; the first also has the published rows."""
    return [_table(recipe, outcomes, scope, count) for scope in SCOPES]


def _table(recipe: BenchmarkRecipe, outcomes: list[Outcome], scope: Scope, expected: int | None) -> Table:
    uses = [u for u in recipe.metrics if scope != "in-domain" or find_metric(u.metric).regional]
    columns = [column(use) for use in uses]
    notes = [recipe.protocol] if scope == "composite" else []
    rows = [
        _row(recipe, outcome, ablation, scope, columns)
        for outcome in outcomes
        for ablation in outcome.ablations
        if scope == "composite" or not ablation.composite_only
    ]
    if scope == "composite":
        columns += distance_columns(recipe)
        columns += [Column(k, v, None, 3, f"{v}, as published") for k, v in recipe.published_columns.items()]
        published = [TableRow((p.method, "published"), _published(p.values), True) for p in recipe.published]
        rows += published
        notes += _notes(recipe, outcomes, expected)
    columns += [MASK_AREA, FLOW, COUNT]
    return Table(f"scores-{scope}", _TITLES[scope], ("model", "variant"), tuple(columns), tuple(rows), tuple(notes))


def _published(values: dict[str, float]) -> dict[str, Value]:
    return {key: Value(value) for key, value in values.items()}


def _notes(recipe: BenchmarkRecipe, outcomes: list[Outcome], expected: int | None) -> list[str]:
    notes = ["mean ± standard error over pictures; bold: best measured value; arrows: which side is better."]
    ablations = dict.fromkeys(ablation for outcome in outcomes for ablation in outcome.ablations)
    notes.append("Variants: " + "; ".join(f"{a.name}: {a.meaning}" for a in ablations) + ".")
    if recipe.published:
        notes.append(f"† published by others, not measured here: {recipe.published_source}.")
    for outcome in outcomes:
        if expected is not None and len(outcome.scores) != expected:
            measured = len(outcome.scores)
            notes.append(f"{outcome.model}: {measured} pictures measured, the protocol has {expected}.")
        notes += [f"{outcome.model}: {note}" for note in outcome.notes]
    return notes


def series(outcome: Outcome, name: str, scope: str, key: str) -> list[float | None]:
    """One score of every photo, in order, for the ablation of a name."""
    return [scores[name].get(scope, {}).get(key) for scores in outcome.scores.values()]


def _row(
    recipe: BenchmarkRecipe, outcome: Outcome, ablation: Ablation, scope: Scope, columns: Sequence[Column]
) -> TableRow:
    values = {}
    for where, key, scale in (
        *((scope, c.key, 1.0) for c in columns),
        ("alignment", MASK_AREA.key, 100.0),
        ("alignment", FLOW.key, 100.0),
    ):
        scaled = [None if v is None else v * scale for v in series(outcome, ablation.name, where, key)]
        if (value := summary(recipe, scaled)) is not None:
            values[key] = value
    for distance in recipe.distances if scope == "composite" else ():
        if (found := _frechet(outcome, distance, ablation.name)) is not None:
            values[distance] = Value(found, count=len(outcome.scores))
    values[COUNT.key] = Value(len(outcome.scores))
    return TableRow((outcome.model, ablation.name), values)


def summary(recipe: BenchmarkRecipe, values: Sequence[float | None]) -> Value | None:
    """A table value from one score of every photo; None if no photo has it."""
    found = summarize(values, seed=recipe.seed, resamples=recipe.resamples)
    return None if found is None else Value(found.mean, found.error, found.low, found.high, found.count)


def _frechet(outcome: Outcome, distance: str, name: str) -> float | None:
    """Distance of an ablation's composites from the photos; None where there are too few, or no features."""
    files = [outcome.folder / "features" / f"{photo}.npz" for photo in outcome.scores]
    if not files or not all(file.is_file() for file in files):
        return None
    keys = feature_key(distance, "reference"), feature_key(distance, name)
    pairs = []
    for file in files:
        with np.load(file, allow_pickle=False) as arrays:
            if keys[0] not in arrays:
                return None
            pairs.append(tuple(arrays[key] for key in keys))
    references, results = (np.stack(side) for side in zip(*pairs, strict=True))
    if len(results) <= results.shape[1]:
        return None
    return frechet_distance(references, results)
