"""Terminal output of all commands: messages go to stderr, results to stdout."""

from rich.console import Console
from rich.markup import escape

from oodinv.errors import OodinvError

stderr = Console(stderr=True, highlight=False, soft_wrap=True)
BAR_ROOM = 60
"""Terminal width below which progress is shown as numbers alone: a bar would truncate them."""


def report_error(error: OodinvError) -> None:
    """Prints an error message on stderr."""
    stderr.print(f"[bold red]error:[/] {escape(str(error))}")


def say(text: str, quiet: bool) -> None:
    """Prints a message on stderr unless `quiet`."""
    if not quiet:
        stderr.print(escape(text))
