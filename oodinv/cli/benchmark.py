"""`oodinv benchmark`: scores, ablations and cost of models on a folder of photos, as tables and a report."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oodinv.cli import options

if TYPE_CHECKING:
    import torch

    from oodinv.benchmark.cost import Cost
    from oodinv.benchmark.edits import Trials
    from oodinv.benchmark.results import Outcome
    from oodinv.cli.progress import Summary
    from oodinv.faces.detectors.base import Detector
    from oodinv.recipe.benchmark import BenchmarkRecipe
    from oodinv.reporting.tables import Table
    from oodinv.runs.sources.base import Job
    from oodinv.weights.build import Model

DatasetOption = Annotated[
    str, typer.Option("--dataset", help="Name of a shipped benchmark, a benchmark as FILE.yaml, or a folder of photos.")
]
ModelOption = Annotated[
    list[str], typer.Option("--model", help="Model or card to measure; may be given several times.")
]
AblateOption = Annotated[
    str | None,
    typer.Option(
        help="In place of the protocol's: plain, no-flow, no-mask, laplacian, poisson, cycles-N, cycles-A..B, size-N, "
        "sizes; separated by commas, or none."
    ),
]
EditOption = Annotated[
    list[str],
    typer.Option(
        "--edit",
        help="Edit recipe to score, by name or as FILE.yaml, in place of the protocol's; may be given several times.",
    ),
]
ProtocolOption = Annotated[str, typer.Option(help="What a folder is measured by: a benchmark's name or FILE.yaml.")]


def benchmark(
    *,
    dataset: DatasetOption,
    output: options.Output,
    model: ModelOption = ["mini"],  # noqa: B006 - typer copies it
    ablate: AblateOption = None,
    edit: EditOption = [],  # noqa: B006 - typer copies it
    protocol: ProtocolOption = "folder",
    aligned: Annotated[bool, typer.Option("--aligned", help="Photos of the folder are crops already.")] = False,
    detector: options.Detector = options.DEFAULT_DETECTOR,
    device: options.Device = "auto",
    dtype: options.Dtype = options.DtypeChoice.float32,
    batch_size: options.BatchSize = 8,
    restart: options.Restart = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Measure models: reconstruction, in-domain scores, ablations, edits, cost; peers' published rows beside them.

    Prints the tables and writes them as CSV, JSON, Markdown and LaTeX, with an HTML report: report.html has the
    distributions, the worst and best cases as pictures, and mask area against error. A repeated command goes on
    where the last one stopped, and gives the same scores to the last digit; cost is measured anew.

    [bold]Examples[/]

        oodinv benchmark --dataset sample -o report/

        oodinv benchmark --dataset crops/ --aligned --ablate plain,no-flow,cycles-1..3,sizes -o report/

        oodinv benchmark --dataset photos/ --edit older --edit smile -o report/

        oodinv benchmark --dataset celebahq --model ffhq-e4e --model ffhq-restyle -o report/
    """
    from oodinv.benchmark import report
    from oodinv.benchmark.ablations import find_ablations
    from oodinv.benchmark.cost import cost_table
    from oodinv.benchmark.edit_table import edit_table
    from oodinv.benchmark.results import score_tables
    from oodinv.benchmark.score import check_metrics
    from oodinv.cli.prepare import choose_device, make_detector
    from oodinv.recipe.edit import find_edit_recipe
    from oodinv.runs.collect import collect

    recipe, folder, is_aligned = _protocol(dataset, protocol, aligned)
    names = recipe.ablate if ablate is None else [n for n in ablate.split(",") if n.strip() not in ("", "none")]
    find_ablations(names, None)
    check_metrics(recipe)
    jobs = collect([folder], output)
    edits = list(dict.fromkeys(map(find_edit_recipe, edit or recipe.edits)))
    chosen = choose_device(device)
    run = _Run(
        recipe=recipe,
        jobs=jobs,
        ablations=names,
        edits=edits,
        detector=None if is_aligned else make_detector(detector, chosen),
        device=chosen,
        dtype=dtype,
        batch_size=batch_size,
        restart=restart,
        quiet=quiet,
    )
    outcomes, costs, summaries = list["Outcome"](), list[tuple[str, "Cost"]](), list["Summary"]()
    for card in _distinct_cards(model):
        outcome, cost, summary = run.measure(card, output)
        outcomes.append(outcome)
        costs += [(outcome.model, c) for c in cost]
        summaries.append(summary)
    count = None if recipe.dataset is None else recipe.dataset.count
    edited = edit_table(recipe, outcomes)
    scores = score_tables(recipe, outcomes, count) + ([] if edited is None else [edited])
    cost_of = cost_table(costs)
    files = report.write(output, recipe, outcomes, scores, cost_of)
    _conclude(summaries, scores, cost_of, files, quiet=quiet, as_json=json)


def _protocol(dataset: str, protocol: str, aligned: bool) -> "tuple[BenchmarkRecipe, Path, bool]":
    """The recipe, the folder of photos, and whether they are crops already."""
    from oodinv.recipe.benchmark import benchmark_names, find_benchmark_recipe, find_dataset

    if dataset not in benchmark_names() and Path(dataset).is_dir():
        recipe = find_benchmark_recipe(protocol)
        return recipe.model_copy(update={"dataset": None}), Path(dataset), aligned
    recipe = find_benchmark_recipe(dataset)
    if recipe.dataset is None:
        raise typer.BadParameter(f"{dataset} names no photos; give a folder", param_hint="--dataset")
    return recipe, find_dataset(recipe.dataset), recipe.dataset.aligned or aligned


def _distinct_cards(models: list[str]) -> list[Path]:
    """Paths of the cards; two of the same name would share a folder and a row's label."""
    from oodinv.errors import RecipeError
    from oodinv.recipe.card import find_card, read_card

    paths = list(dict.fromkeys(find_card(model) for model in models))
    names = [read_card(path).name for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecipeError(f"two of the cards are called {', '.join(twice)}; give them names of their own")
    return paths


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One protocol with the command's settings, to be applied to each model."""

    recipe: "BenchmarkRecipe"
    jobs: "list[Job]"
    ablations: list[str]
    edits: list[Path]
    detector: "Detector | None"
    device: "torch.device"
    dtype: options.DtypeChoice
    batch_size: int
    restart: bool
    quiet: bool

    def measure(self, path: Path, output: Path) -> "tuple[Outcome, list[Cost], Summary]":
        """Scores and cost of the model of one card, below OUT/models/NAME."""
        from oodinv.benchmark import cost
        from oodinv.benchmark.ablations import ablations_of
        from oodinv.benchmark.results import collect_scores
        from oodinv.benchmark.score import check_metrics, load_scorer
        from oodinv.benchmark.stages import BenchmarkStages, header
        from oodinv.cli.progress import Summary, follow
        from oodinv.metrics.base import Setting
        from oodinv.recipe.card import read_card
        from oodinv.runs.runner import run
        from oodinv.weights.build import load_model

        card = read_card(path)
        model = load_model(card, path).to(self.device)
        check_metrics(self.recipe, card.size)
        scorer = load_scorer(self.recipe, Setting(self.device, card.crop.scale))
        stages = BenchmarkStages(
            model=model,
            device=self.device,
            dtype=self.dtype.value,
            detector=self.detector,
            recipe=self.recipe,
            ablations=ablations_of(self.ablations, model.samm),
            scorer=scorer,
            trials=self._trials(model),
        )
        folder = output / "models" / card.name
        events = run(stages, self.jobs, folder, header(stages), chunk=self.batch_size, restart=self.restart)
        summary = follow(events, Summary(folder, model.notes), f"measuring {card.name}", self.quiet)
        outcome = collect_scores(card.name, folder, stages.ablations, self.jobs, (*model.notes, *scorer.notes))
        good = [job for job in self.jobs if job.name in outcome.scores]
        return outcome, cost.measure(stages, good), summary

    def _trials(self, model: "Model") -> "Trials | None":
        """The edits to carry out with a model."""
        from oodinv.benchmark.edits import plan_trials
        from oodinv.faces.detectors.yunet import Yunet
        from oodinv.metrics.identity import Sface
        from oodinv.weights.pull import pull

        if not self.edits:
            return None
        return plan_trials(self.edits, model, Yunet(pull("yunet")), Sface(pull("sface"), model.card.crop.scale))


def _conclude(
    summaries: "list[Summary]", scores: "list[Table]", cost: "Table", files: list[Path], *, quiet: bool, as_json: bool
) -> None:
    """Prints tables on stdout and failures on stderr. Raises `typer.Exit` with status 1 if a photo failed."""
    import json

    from rich.markup import escape

    from oodinv.cli.console import stderr
    from oodinv.reporting.tables import to_json

    failures = [entry for summary in summaries for entry in (*summary.failures, *summary.unsupported)]
    if as_json:
        tables = json.loads(to_json([*scores, cost]))["tables"]
        failed = [{"input": e.input, "error": e.error} for e in failures]
        typer.echo(json.dumps({"tables": tables, "failed": failed, "files": [str(file) for file in files]}))
    elif not quiet:
        for table in [*scores, cost]:
            _print_table(table)
        stderr.print(f"report: {escape(str(next(file for file in files if file.suffix == '.html')))}")
    for entry in failures:
        stderr.print(f"[red]failed:[/] {escape(entry.error or entry.input)}")
    if failures:
        raise typer.Exit(1)


def _print_table(table: "Table") -> None:
    import sys

    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    from oodinv.reporting.tables import best, labels, text

    drawn = RichTable(title=table.title, title_justify="left", caption="\n".join(table.notes), caption_justify="left")
    for name in table.labels:
        drawn.add_column(name, no_wrap=True)
    for column in table.columns:
        drawn.add_column(column.heading, justify="right")
    marked = best(table)
    for i, row in enumerate(table.rows):
        cells = [Text(label) for label in labels(row)]
        for c in table.columns:
            style = "bold green" if (i, c.key) in marked else "dim" if row.published else ""
            cells.append(Text(text(row.values.get(c.key), c.digits), style=style))
        drawn.add_row(*cells)
    width = None if sys.stdout.isatty() else 200  # a pipe has no width of its own to be cut to
    Console(width=width, highlight=False, markup=False).print(drawn)
