"""`oodinv blend`: recomputes composites from saved files."""

from pathlib import Path
from typing import Annotated

import typer

from oodinv.cli import options
from oodinv.cli.groups import CompositionOptions, MessageOptions, grouped

CHUNK = 8
"""Number of photos per chunk."""


@grouped
def blend(
    *,
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of invert or edit.", show_default=False)],
    compose: CompositionOptions,
    paste: Annotated[bool, typer.Option("--paste", help="Also paste the composites into the photos.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the results; by default OUT itself.", file_okay=False),
    ] = None,
    dry_run: options.DryRun = False,
    restart: options.Restart = False,
    messages: MessageOptions,
) -> None:
    """Recompute composites from saved crops, generated pictures and masks, in milliseconds per photo.

    Uses the composition settings of the run, overridden by options. Replaces OUT/composites, and with --paste
    OUT/pasted, or writes crops and both to the folder of --output. The manifest of OUT still records the settings of
    the run.

    [bold]Examples[/]

        oodinv blend out-older/ --technique laplacian --detail 1 --paste

        oodinv blend out/ --technique poisson --feather 4 -o poisson/
    """
    from oodinv.cli.plan import show_plan
    from oodinv.cli.progress import Summary, conclude, follow
    from oodinv.reporting.pages import is_reported
    from oodinv.runs.collect import Collected
    from oodinv.runs.results import open_results
    from oodinv.runs.runner import local, run
    from oodinv.workflows.reblend import BlendStages, blend_header, recompose

    results = open_results(folder, ("invert", "edit"))
    chosen = compose.values()
    stages = BlendStages(
        results=results,
        composition=results.composition.model_copy(update=chosen),
        pasted=results.pasted_composition.model_copy(update=chosen) if paste else None,
    )
    in_place = output is None or output.resolve() == folder.resolve()
    if dry_run:
        target, header = folder if in_place or output is None else output, blend_header(stages)
        show_plan(Collected(results.jobs()[0], ()), target, header, restart=restart or in_place, as_json=messages.json)
        return
    if in_place or output is None:
        events = recompose(stages)
    else:
        jobs, _ = results.jobs()
        events = run(local(stages), jobs, output, blend_header(stages), chunk=CHUNK, restart=restart)
    summary = follow(events, Summary(output or folder), "blending", messages.quiet)
    if is_reported(summary.output):
        summary.notes = (f"the report shows composites as they were; `oodinv report {summary.output}` makes it again",)
    conclude(summary, as_json=messages.json, quiet=messages.quiet)
