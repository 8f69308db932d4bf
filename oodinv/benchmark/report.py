"""The files of a report: tables as CSV, JSON, Markdown and LaTeX, and one HTML page with plots and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from oodinv.benchmark.edit_table import edits_of
from oodinv.benchmark.plots import Series, distribution, scatter
from oodinv.benchmark.results import SCOPES, Outcome, column, series
from oodinv.benchmark.stages import EDIT
from oodinv.imaging.files import write_text
from oodinv.recipe.benchmark import BenchmarkRecipe, MetricUse
from oodinv.reporting.html import EmbeddedPicture, embedded, environment
from oodinv.reporting.tables import (
    Column,
    Table,
    best,
    interval,
    labels,
    text,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
)

SHOWN = 4
"""Worst and best cases of a model."""


@dataclass(frozen=True)
class Gallery:
    """Strips of pictures under column heads."""

    title: str
    columns: Sequence[str]
    pictures: list[EmbeddedPicture]


@dataclass(frozen=True)
class Section:
    """Plots and pictures of one model."""

    model: str
    plots: list[Markup]
    galleries: list[Gallery]


def write(
    folder: Path, recipe: BenchmarkRecipe, outcomes: list[Outcome], scores: list[Table], cost: Table
) -> list[Path]:
    """Writes all files of a report and returns their paths; those of scores are bitwise reproducible.

    Raises:
        OutputError: the folder can't be written.
    """
    texts = {f"{table.name}.csv": to_csv(table) for table in [*scores, cost]}
    for name, tables in (("scores", scores), ("cost", [cost])):
        texts[f"{name}.json"] = to_json(tables)
        texts[f"{name}.md"] = "\n".join(map(to_markdown, tables))
        texts[f"{name}.tex"] = "% needs \\usepackage{booktabs}\n" + "\n".join(map(to_latex, tables))
    texts["report.html"] = page(recipe, outcomes, [*scores, cost])
    for name, content in texts.items():
        write_text(folder / name, content)
    return [folder / name for name in texts]


def page(recipe: BenchmarkRecipe, outcomes: list[Outcome], tables: list[Table]) -> str:
    """Renders the report as one self-contained HTML page; repeated explanations of columns are collapsed."""
    shown, explained = [], frozenset[Column]()
    for table in tables:
        notes = tuple(note for note in table.notes if note != recipe.protocol)  # the page has it above
        shown.append((replace(table, notes=notes), explained.issuperset(table.columns)))
        explained |= frozenset(table.columns)
    return (
        environment("oodinv.benchmark")
        .get_template("report.html")
        .render(
            recipe=recipe,
            outcomes=outcomes,
            tables=shown,
            sections=[_section(recipe, outcome) for outcome in outcomes if outcome.scores],
            best=best,
            labels=labels,
            text=text,
            tip=interval,
        )
    )


def _section(recipe: BenchmarkRecipe, outcome: Outcome) -> Section:
    galleries = [*_cases(recipe.metrics[0], outcome), *_edited(outcome)]
    return Section(outcome.model, _plots(recipe.metrics[0], outcome), galleries)


def _known(values: list[float | None]) -> list[float]:
    return [v for v in values if v is not None]


def _plots(use: MetricUse, outcome: Outcome) -> list[Markup]:
    """SVG of the first metric's distributions, and of its relation to the mask area."""
    words = column(use).heading
    ablations = [Series(a.name, _known(series(outcome, a.name, "composite", use.key))) for a in outcome.ablations[:8]]
    scopes = [Series(scope, _known(series(outcome, "full", scope, use.key))) for scope in SCOPES]
    drawn = (
        distribution(ablations, f"{words} of the composite"),
        distribution(scopes, f"{words} of the full method"),
        _against_area(outcome, use),
    )
    return [Markup(svg) for svg in drawn]


def _against_area(outcome: Outcome, use: MetricUse) -> str:
    area = series(outcome, "full", "alignment", "mask_area")
    lines = []
    for scope in ("composite", "generated"):
        pairs = [
            (100 * a, e)
            for a, e in zip(area, series(outcome, "full", scope, use.key), strict=True)
            if a is not None and e is not None
        ]
        lines.append(Series(scope, [a for a, _ in pairs], [e for _, e in pairs]))
    return scatter(lines, "mask area %", column(use).heading)


def _cases(use: MetricUse, outcome: Outcome) -> list[Gallery]:
    """Worst and best composites of the full method by one metric."""
    found = zip(outcome.scores, series(outcome, "full", "composite", use.key), strict=True)
    values = {name: value for name, value in found if value is not None}
    ordered = sorted(values, key=lambda name: (values[name], name), reverse=column(use).better == "lower")
    worst = ordered[:SHOWN]
    heads = ("photo", "generated", "composite", "mask (white: kept)")
    chosen = (("worst composites", worst), ("best composites", [n for n in ordered[::-1] if n not in worst][:SHOWN]))
    captions = {
        name: f"{name}: {column(use).title} {value:.4f}{_area(outcome, name)}" for name, value in values.items()
    }
    return [
        Gallery(words, heads, [_picture(outcome.folder / "pictures" / f"{n}.png", captions[n]) for n in names])
        for words, names in chosen
        if names
    ]


def _area(outcome: Outcome, name: str) -> str:
    area = outcome.scores[name]["full"]["alignment"]["mask_area"]
    return "" if area is None else f", mask area {100 * area:.1f} %"


def _edited(outcome: Outcome) -> list[Gallery]:
    """Results of the unchanged edit recipes for the first photos."""
    edits = [edit.removeprefix(EDIT) for edit in edits_of(outcome)]
    if not edits:
        return []
    names = list(outcome.scores)[:SHOWN]
    pictures = [_picture(outcome.folder / "edits" / f"{name}.png", name) for name in names]
    return [Gallery("edits as their recipes say", ("photo", "no edit", *edits), pictures)]


def _picture(path: Path, caption: str) -> EmbeddedPicture:
    return embedded(caption, path.read_bytes() if path.is_file() else b"")
