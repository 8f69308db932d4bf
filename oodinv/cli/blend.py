"""`oodinv blend`: composes again from saved files."""

from pathlib import Path
from typing import Annotated

import typer

from oodinv.cli import options


def blend(
    *,
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of invert or edit.", show_default=False)],
    technique: options.Technique = None,
    keep_above: options.KeepAbove = None,
    feather: options.Feather = None,
    detail: options.Detail = None,
    colour: options.Colour = None,
    area: options.Area = None,
    paste: Annotated[bool, typer.Option("--paste", help="Put the composites back into the photos too.")] = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Compose again from saved crops, generated pictures and masks: no network runs, milliseconds a photo.

    Composes as the run did, but for what options say. Replaces OUT/composites, and with --paste OUT/pasted. The
    manifest keeps saying how the run composed.

    [bold]Examples[/]

        oodinv blend out-older/ --technique laplacian --detail 1 --paste

        oodinv blend out/ --technique poisson --feather 4
    """
    from oodinv.cli.progress import Summary, conclude, follow
    from oodinv.reporting.pages import is_reported
    from oodinv.runs.results import open_results
    from oodinv.workflows.reblend import recompose

    results = open_results(folder, ("invert", "edit"))
    chosen = options.composition(technique, keep_above, feather, detail, colour, area)
    composition = results.composition.model_copy(update=chosen)
    events = recompose(results, composition, paste)
    summary = follow(events, Summary(folder), "blending", quiet)
    if is_reported(folder):
        summary.notes = (f"the report shows composites as they were; `oodinv report {folder}` makes it again",)
    conclude(summary, as_json=json, quiet=quiet)
