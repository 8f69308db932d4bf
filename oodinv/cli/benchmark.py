"""`oodinv benchmark`: scores, ablations and cost of models on a folder of photos; writes tables and a report."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oodinv import DEFAULT_MODEL
from oodinv.cli import options
from oodinv.cli.groups import ComputeOptions, MessageOptions, grouped

if TYPE_CHECKING:
    from oodinv.benchmark.cost import Cost
    from oodinv.benchmark.edits import Trials
    from oodinv.benchmark.results import Outcome
    from oodinv.benchmark.stages import BenchmarkStages
    from oodinv.cli.progress import Summary
    from oodinv.recipe.benchmark import BenchmarkRecipe
    from oodinv.reporting.tables import Table
    from oodinv.runs.ray_engine import Workers
    from oodinv.runs.sharding import Shard
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
        help="Ablations instead of the protocol's: plain, no-flow, no-mask, laplacian, poisson, cycles-N, cycles-A..B, "
        "size-N, sizes; separated by commas, or none."
    ),
]
EditOption = Annotated[
    list[str],
    typer.Option(
        "--edit",
        help="Edit recipe to score, by name or as FILE.yaml, instead of the protocol's; may be given several times.",
    ),
]
ProtocolOption = Annotated[str, typer.Option(help="Benchmark protocol for a folder of photos: a name or FILE.yaml.")]


@grouped
def benchmark(
    *,
    dataset: DatasetOption,
    output: options.Output,
    model: ModelOption = [DEFAULT_MODEL],  # noqa: B006 - typer copies it
    ablate: AblateOption = None,
    edit: EditOption = [],  # noqa: B006 - typer copies it
    protocol: ProtocolOption = "folder",
    aligned: Annotated[bool, typer.Option("--aligned", help="The photos are already aligned crops.")] = False,
    detector: options.Detector = options.DEFAULT_DETECTOR,
    compute: ComputeOptions,
    dry_run: options.DryRun = False,
    restart: options.Restart = False,
    messages: MessageOptions,
) -> None:
    """Measure reconstruction, in-domain scores, ablations, edits and cost of models, next to published results.

    Prints the tables and writes them as CSV, JSON, Markdown and LaTeX, with an HTML report: report.html has the
    distributions, the worst and best cases as pictures, and mask area against error. Repeat the command to resume a
    stopped run: scores are bitwise reproducible, cost is measured again.

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
    from oodinv.cli.engine import plan_workers
    from oodinv.cli.plan import print_plan
    from oodinv.cli.prepare import choose_shard
    from oodinv.recipe.edit import find_edit_recipe
    from oodinv.runs.collect import look_through

    recipe, folder, is_aligned = _protocol(dataset, protocol, aligned)
    names = recipe.ablate if ablate is None else [n for n in ablate.split(",") if n.strip() not in ("", "none")]
    find_ablations(names, None)
    check_metrics(recipe)
    found = look_through([folder], output)
    share = choose_shard(compute.shard, restart)
    run = _Run(
        recipe=recipe,
        jobs=found.jobs,
        ablations=names,
        edits=list(dict.fromkeys(map(find_edit_recipe, edit or recipe.edits))),
        detector=None if is_aligned else detector,
        compute=compute,
        shard=share,
        workers=plan_workers(compute, share),
        restart=restart,
        quiet=messages.quiet,
    )
    cards = _distinct_cards(model)
    if dry_run:
        print_plan(
            [row for card in cards for row in run.plan(card, output)], output, found.notes, as_json=messages.json
        )
        return
    measured = [run.measure(card, output) for card in cards]
    summaries = [one.summary for one in measured]
    outcomes = [one.outcome for one in measured if one.outcome is not None]
    if len(outcomes) < len(measured):
        _conclude(summaries, [], None, [], quiet=messages.quiet, as_json=messages.json)
        return
    costs = [(outcome.model, c) for outcome, one in zip(outcomes, measured, strict=True) for c in one.cost]
    count = None if recipe.dataset is None else recipe.dataset.count
    edited = edit_table(recipe, outcomes)
    scores = score_tables(recipe, outcomes, count) + ([] if edited is None else [edited])
    cost_of = cost_table(costs)
    files = report.write(output, recipe, outcomes, scores, cost_of)
    _conclude(summaries, scores, cost_of, files, quiet=messages.quiet, as_json=messages.json)


def _protocol(dataset: str, protocol: str, aligned: bool) -> "tuple[BenchmarkRecipe, Path, bool]":
    """Returns the recipe, the folder of photos, and true if these are aligned crops."""
    from oodinv.recipe.benchmark import benchmark_names, find_benchmark_recipe, find_dataset

    if dataset not in benchmark_names() and Path(dataset).is_dir():
        recipe = find_benchmark_recipe(protocol)
        return recipe.model_copy(update={"dataset": None}), Path(dataset), aligned
    recipe = find_benchmark_recipe(dataset)
    if recipe.dataset is None:
        raise typer.BadParameter(f"{dataset} has no photos of its own; pass a folder", param_hint="--dataset")
    return recipe, find_dataset(recipe.dataset), recipe.dataset.aligned or aligned


def _distinct_cards(models: list[str]) -> list[Path]:
    """Finds the cards and checks that their names differ, because names label rows and output folders."""
    from oodinv.errors import RecipeError
    from oodinv.recipe.card import find_card, read_card

    paths = list(dict.fromkeys(find_card(model) for model in models))
    names = [read_card(path).name for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecipeError(f"two of the cards are called {', '.join(twice)}; give them different names")
    return paths


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The protocol and settings of the command, shared by all models."""

    recipe: "BenchmarkRecipe"
    jobs: "list[Job]"
    ablations: list[str]
    edits: list[Path]
    detector: str | None
    compute: ComputeOptions
    shard: "Shard | None"
    workers: "Workers | None"
    restart: bool
    quiet: bool

    def plan(self, path: Path, output: Path) -> list[dict[str, str]]:
        """Lists the planned work of `measure` for each photo, after all its checks."""
        from oodinv.benchmark.stages import header
        from oodinv.cli.plan import plan_rows
        from oodinv.recipe.card import read_card
        from oodinv.runs.collect import Collected

        folder = output / "models" / read_card(path).name
        return plan_rows(Collected(self.jobs, ()), folder, header(self._makes(path)("cpu")), restart=self.restart)

    def _makes(self, path: Path) -> "partial[BenchmarkStages]":
        """Returns `_stages` for the card at `path`; it takes a device."""
        return partial(
            _stages,
            path=path,
            recipe=self.recipe,
            ablations=self.ablations,
            edits=self.edits,
            detector=self.detector,
            dtype=self.compute.dtype,
            backend=self.compute.backend,
        )

    def measure(self, path: Path, output: Path) -> "_Measured":
        """Measures the model of one card below OUT/models/NAME; cost only without Ray."""
        from oodinv.benchmark import cost
        from oodinv.benchmark.results import collect_scores
        from oodinv.benchmark.stages import header
        from oodinv.cli.engine import engine_for
        from oodinv.cli.progress import Summary, follow
        from oodinv.recipe.card import read_card
        from oodinv.runs import runner
        from oodinv.runs.manifest import part_names

        card = read_card(path)
        make_stages = self._makes(path)
        stages = make_stages(self.compute.device if self.workers is None else "cpu")
        folder = output / "models" / card.name
        events = runner.run(
            engine_for(stages, make_stages, self.compute.device, self.workers),
            self.jobs,
            folder,
            header(stages),
            chunk=self.compute.chunk,
            restart=self.restart,
            shard=self.shard,
        )
        summary = follow(events, Summary(folder, stages.model.notes), f"measuring {card.name}", self.quiet)
        if part_names(folder):
            return _Measured(summary, None, [])
        notes = (*stages.model.notes, *stages.scorer.notes)
        outcome = collect_scores(card.name, folder, stages.ablations, self.jobs, notes)
        good = [job for job in self.jobs if job.name in outcome.scores]
        return _Measured(summary, outcome, cost.measure(stages, good) if self.workers is None else [])


@dataclass(frozen=True)
class _Measured:
    """Results of one model. outcome: None while other shards are running; the last one to finish has it."""

    summary: "Summary"
    outcome: "Outcome | None"
    cost: "list[Cost]"


def _stages(
    device: str,
    *,
    path: Path,
    recipe: "BenchmarkRecipe",
    ablations: list[str],
    edits: list[Path],
    detector: str | None,
    dtype: options.DtypeName,
    backend: str,
) -> "BenchmarkStages":
    """Builds the stages that measure the model of a card. device: a value of `--device`. Also called by Ray workers."""
    from oodinv.benchmark.ablations import ablations_of
    from oodinv.benchmark.score import check_metrics, load_scorer
    from oodinv.benchmark.stages import BenchmarkStages
    from oodinv.cli.prepare import choose_backend, choose_device, make_detector, run_by
    from oodinv.metrics.base import Setting
    from oodinv.recipe.card import read_card
    from oodinv.weights.build import load_model

    card, place = read_card(path), choose_device(device)
    model = run_by(load_model(card, path).to(place), choose_backend(backend, place, dtype), "fixed")
    check_metrics(recipe, card.size)
    return BenchmarkStages(
        model=model,
        device=place,
        dtype=dtype,
        detector=None if detector is None else make_detector(detector, place),
        recipe=recipe,
        ablations=ablations_of(ablations, model.samm),
        scorer=load_scorer(recipe, Setting(place, card.crop.scale)),
        trials=_trials(edits, model),
    )


def _trials(edits: list[Path], model: "Model") -> "Trials | None":
    """Plans the edits to score with a model; None without edits."""
    from oodinv.benchmark.edits import plan_trials
    from oodinv.faces.detectors.yunet import Yunet
    from oodinv.metrics.identity import Sface
    from oodinv.weights.pull import pull

    if not edits:
        return None
    return plan_trials(edits, model, Yunet(pull("yunet")), Sface(pull("sface"), model.card.crop.scale))


def _conclude(
    summaries: "list[Summary]",
    scores: "list[Table]",
    cost: "Table | None",
    files: list[Path],
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Prints tables on stdout and failures on stderr.

    cost: None while other shards are running; the last one to finish writes the tables.

    Raises:
        typer.Exit: with status 1 if a photo failed.
    """
    import json

    from rich.markup import escape

    from oodinv.cli.console import stderr
    from oodinv.cli.tables import print_table
    from oodinv.reporting.tables import to_json

    shown = scores if cost is None else [*scores, cost]
    failures = [entry for summary in summaries for entry in (*summary.failures, *summary.unsupported)]
    if as_json:
        tables = json.loads(to_json(shown))["tables"]
        failed = [{"input": e.input, "error": e.error} for e in failures]
        typer.echo(json.dumps({"tables": tables, "failed": failed, "files": [str(file) for file in files]}))
    elif not quiet:
        for table in shown:
            print_table(table)
        if cost is None:
            stderr.print("this shard is done; the last one to finish writes the tables and the report")
    if files and not (as_json or quiet):
        stderr.print(f"report: {escape(str(next(file for file in files if file.suffix == '.html')))}")
    for entry in failures:
        stderr.print(f"[red]failed:[/] {escape(entry.error or entry.input)}")
    if failures:
        raise typer.Exit(1)
