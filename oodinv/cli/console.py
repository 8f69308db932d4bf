"""Terminal output of all commands: messages go to stderr, results to stdout."""

import shutil
import sys
import textwrap
from collections.abc import Mapping

import typer
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


def print_facts(title: str, facts: Mapping[str, object], indent: int = 4) -> None:
    """Prints a title, if any, and one line for each fact that has a value.

    Terminals get lines that fit, folded under the value's start; pipes get whole lines, for grep.
    """
    label = max(map(len, facts), default=0) + 2
    lines = [(title, "    ")] if title else []
    lines += [
        (f"{'':<{indent}}{name:<{label}}{value}", " " * (indent + label)) for name, value in facts.items() if value
    ]
    for line, hanging in lines:
        typer.echo(_folded(line, hanging) if sys.stdout.isatty() else line)


def _folded(line: str, hanging: str) -> str:
    """Folds a line to the terminal's width, unless it has a word, such as a path, that is too long for that."""
    width = shutil.get_terminal_size().columns
    further = hanging if 2 * len(hanging) <= width else "        "
    if max(map(len, line.split()), default=0) > width - len(further):
        return line  # the terminal folds it, and it can be copied whole
    return "\n".join(textwrap.wrap(line, width, subsequent_indent=further, break_on_hyphens=False))
