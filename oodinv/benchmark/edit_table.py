"""The table of edits: one row for each edit and each alternative to its recipe."""

from oodinv.benchmark.edits import WAYS
from oodinv.benchmark.results import COUNT, Outcome, summary
from oodinv.benchmark.stages import EDIT
from oodinv.recipe.benchmark import BenchmarkRecipe
from oodinv.reporting.tables import Column, Table, TableRow, Value

_EDIT_COLUMNS = (
    Column("identity", "ID (SFace)", "higher", 3, "cosine similarity of SFace features of photo and edited composite"),
    Column(
        "moved",
        "moved (codes)",
        None,
        2,
        "change of the composite's codes, encoded again, along what the edit asked for: 1 is all of it, 0 nothing. "
        "Measured with the encoder and direction of the edit, so not independent of them",
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
        "face: the visible effect of the edit",
    ),
    Column("outside", "MAE outside face", "lower", 4, "mean absolute error to the photo on [-1, 1], around the face"),
    Column("kept", "MAE in M", "lower", 4, "mean absolute error to the photo on [-1, 1], weighted by M"),
)


def edit_table(recipe: BenchmarkRecipe, outcomes: list[Outcome]) -> Table | None:
    """The table of the edits; None if there are none."""
    rows = [
        TableRow((outcome.model, edit.removeprefix(EDIT), way), _edit_values(recipe, outcome, edit, way))
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
        "Strengths along directions are fitted together, by least squares over all of the model's directions.",
    )
    title = "Edits: changes along their directions, and side effects"
    return Table(
        "scores-edits", title, ("model", "edit", "way"), (*_EDIT_COLUMNS, *each, COUNT), tuple(rows), notes, False
    )


def edits_of(outcome: Outcome) -> dict[str, list[str]]:
    """Keys of the edits among an outcome's scores, each with its alternatives."""
    first = next(iter(outcome.scores.values()), {})
    return {name: list(ways) for name, ways in first.items() if name.startswith(EDIT)}


def _edit_values(recipe: BenchmarkRecipe, outcome: Outcome, edit: str, way: str) -> dict[str, Value]:
    records = [scores[edit][way] for scores in outcome.scores.values()]
    values = {COUNT.key: Value(len(records))}
    for key in records[0]:
        if (value := summary(recipe, [record.get(key) for record in records])) is not None:
            values[key] = value
    return values
