"""The files of a report: tables as CSV, JSON, Markdown and LaTeX, and one HTML page with plots and pictures."""

import base64
import html
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from oodinv.benchmark.edit_table import edits_of
from oodinv.benchmark.plots import Series, distribution, scatter
from oodinv.benchmark.results import SCOPES, Outcome, column, series
from oodinv.benchmark.stages import EDIT
from oodinv.imaging.files import write_text
from oodinv.recipe.benchmark import BenchmarkRecipe, MetricUse
from oodinv.reporting.tables import Column, Table, to_csv, to_html, to_json, to_latex, to_markdown

SHOWN = 4  # worst and best cases of a model

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1500px;padding:0 1em;color:#222}
table{border-collapse:collapse;font-size:14px}th,td{padding:4px 8px;border-bottom:1px solid #ddd;text-align:left;
white-space:nowrap}
th{border-bottom:2px solid #888}.number{text-align:right;font-variant-numeric:tabular-nums}.published{color:#777}
.scroll{overflow-x:auto}dt{font-weight:600}dd{margin:0 0 4px 1.5em}svg text{font:11px sans-serif;fill:#444}
svg .grid{stroke:#e5e5e5;fill:none}.plots{display:flex;flex-wrap:wrap;gap:24px}
.legend span{margin-right:14px;font-size:13px}

.legend i{display:inline-block;width:10px;height:10px;margin-right:4px}figure{margin:0 0 14px}
figure img{width:100%;max-width:1024px;image-rendering:auto}figcaption{font-size:13px;color:#444}
.heads{display:flex;max-width:1024px}.heads b{flex:1;text-align:center;font-size:13px}
"""


def write(
    folder: Path, recipe: BenchmarkRecipe, outcomes: list[Outcome], scores: list[Table], cost: Table
) -> list[Path]:
    """Writes all files of a report and returns their paths. Those of scores don't depend on the clock.

    Raises:
        OutputError: the folder can't be written.
    """
    texts = {f"{table.name}.csv": to_csv(table) for table in [*scores, cost]}
    for name, tables in (("scores", scores), ("cost", [cost])):
        texts[f"{name}.json"] = to_json(tables)
        texts[f"{name}.md"] = "\n".join(map(to_markdown, tables))
        texts[f"{name}.tex"] = "% needs \\usepackage{booktabs}\n" + "\n".join(map(to_latex, tables))
    texts["report.html"] = page(recipe, outcomes, [*scores, cost])
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def page(recipe: BenchmarkRecipe, outcomes: list[Outcome], tables: list[Table]) -> str:
    """The report as one HTML page that needs no other file."""
    heading = html.escape(f"Benchmark: {recipe.title}")
    sections, explained = [], frozenset[Column]()
    for table in tables:
        unsaid = tuple(note for note in table.notes if note != recipe.protocol)
        sections.append(to_html(replace(table, notes=unsaid), explained))
        explained |= frozenset(table.columns)
    sections += [
        _plots(recipe, outcome) + _cases(recipe.metrics[0], outcome) + _edited(outcome)
        for outcome in outcomes
        if outcome.scores
    ]
    body = "".join(sections)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{heading}</title><style>{_STYLE}</style>'
        f"<h1>{heading}</h1>{_introduction(recipe, outcomes)}{body}</html>\n"
    )


def _introduction(recipe: BenchmarkRecipe, outcomes: list[Outcome]) -> str:
    measured = "; ".join(f"{outcome.model}: {len(outcome.scores)} pictures" for outcome in outcomes)
    paragraphs = (
        f"Protocol: {recipe.protocol}",
        f"Measured: {measured}. † and grey rows: published by others under their protocol.",
        "Values are mean ± standard error over pictures; hover over one for its 95 % bootstrap interval. ↓ lower is "
        "better, ↑ higher is better, bold is the best measured value. Copied pixels flatter the composite: read it "
        "beside the mask area and the in-domain part.",
    )
    return "".join(f"<p>{html.escape(words)}</p>" for words in paragraphs)


def _known(values: list[float | None]) -> list[float]:
    return [v for v in values if v is not None]


def _plots(recipe: BenchmarkRecipe, outcome: Outcome) -> str:
    first = recipe.metrics[0]
    words = column(first).heading
    ablations = [Series(a.name, _known(series(outcome, a.name, "composite", first.key))) for a in outcome.ablations[:8]]
    scopes = [Series(scope, _known(series(outcome, "full", scope, first.key))) for scope in SCOPES]
    panels = [distribution(ablations, f"{words} of the composite"), distribution(scopes, f"{words} of the full method")]
    panels += [_against_area(outcome, first)]
    figures = "".join(f"<figure>{panel}</figure>" for panel in panels)
    return f'<h2>{html.escape(outcome.model)}: distributions</h2><div class="plots">{figures}</div>'


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


def _cases(use: MetricUse, outcome: Outcome) -> str:
    """Worst and best composites of the full method by one metric, as pictures."""
    found = zip(outcome.scores, series(outcome, "full", "composite", use.key), strict=True)
    pairs = [(value, name) for name, value in found if value is not None]
    ordered = [name for _, name in sorted(pairs, reverse=column(use).better == "lower")]
    values = {name: value for value, name in pairs}
    heads = _heads(("photo", "generated", "composite", "mask (white: kept)"))
    parts = []
    worst = ordered[:SHOWN]
    for words, names in (("worst", worst), ("best", [n for n in ordered[::-1] if n not in worst][:SHOWN])):
        figures = "".join(_figure(outcome, name, f"{column(use).title} {values[name]:.4f}") for name in names)
        if figures:
            parts.append(f"<h2>{html.escape(outcome.model)}: {words} composites</h2>{heads}{figures}")
    return "".join(parts)


def _heads(names: Sequence[str]) -> str:
    return f'<div class="heads">{"".join(f"<b>{html.escape(name)}</b>" for name in names)}</div>'


def _figure(outcome: Outcome, name: str, caption: str) -> str:
    area = outcome.scores[name]["full"]["alignment"]["mask_area"]
    words = f"{name}: {caption}" + ("" if area is None else f", mask area {100 * area:.1f} %")
    return _picture(outcome.folder / "pictures" / f"{name}.png", words)


def _edited(outcome: Outcome) -> str:
    """Results of the edits, as their recipes say, for the first photos."""
    edits = [edit.removeprefix(EDIT) for edit in edits_of(outcome)]
    if not edits:
        return ""
    names = list(outcome.scores)[:SHOWN]
    figures = "".join(_picture(outcome.folder / "edits" / f"{name}.png", name) for name in names)
    heads = _heads(("photo", "no edit", *edits))
    return f"<h2>{html.escape(outcome.model)}: edits as their recipes say</h2>{heads}{figures}"


def _picture(path: Path, words: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
    words = html.escape(words)
    return f'<figure><img alt="{words}" src="data:image/png;base64,{data}"><figcaption>{words}</figcaption></figure>'
