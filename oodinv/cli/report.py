"""`oodinv report`: makes the contact sheet and HTML report of a run."""

from pathlib import Path
from typing import Annotated

import typer

from oodinv.cli import options


def report(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of invert or edit.", show_default=False)],
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Make OUT/contact-sheet.png and OUT/report.html with every face of a finished run.

    `edit` makes them itself; use this command after `invert`, or after `blend` has changed composites.

    [bold]Examples[/]

        oodinv report out/

        oodinv blend out-older/ --technique laplacian && oodinv report out-older/
    """
    from oodinv.cli.console import say
    from oodinv.cli.progress import Summary, conclude, timed
    from oodinv.reporting.report import write_report
    from oodinv.runs.results import open_results
    from oodinv.runs.runner import alone_in

    results = open_results(folder, ("invert", "edit", "blend"))
    summary = Summary(folder, total=len(results.entries), done=len(results.entries))
    with alone_in(folder), timed(summary):
        paths = write_report(results)
    say(f"to look at: {', '.join(map(str, paths))}", quiet)
    conclude(summary, as_json=json, quiet=quiet)
