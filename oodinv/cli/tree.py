"""Root of the command tree: global options, defaults from files, and help for narrow terminals."""

import re
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from oodinv.cli import config, logs
from oodinv.cli.options import MESSAGES

NARROW = 70
"""Terminal width below which help is printed without panels, as these would truncate option names."""
MIN_WIDTH = 36
"""Smallest width of help in columns: that of the longest option with its values."""
_MARKUP = re.compile(r"(?<!\\)\[/?[a-z ]*\]")


class Root(TyperGroup):
    """`oodinv` itself."""

    def __init__(self, **settings: Any) -> None:
        """Adds the logging options to all sub-commands."""
        super().__init__(**settings)
        shared = _logging_options()
        for node in _nodes(self):
            if not hasattr(node, "commands"):
                node.params += shared

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Extends click's method with defaults from the user's files and with plain help on narrow terminals."""
        columns = shutil.get_terminal_size().columns
        if columns < NARROW:
            for node in (self, *_nodes(self)):
                _make_plain(node, columns)
        extra.setdefault("default_map", config.default_map(self))
        return super().make_context(info_name, args, parent, **extra)


# Newer versions of typer bundle their own click, so commands are typed Any and recognised by their attributes.


def _nodes(group: Any) -> Iterator[Any]:
    for command in group.commands.values():
        yield command
        if hasattr(command, "commands"):
            yield from _nodes(command)


def _logging_options() -> list[Any]:
    """Builds `--verbose` and `--log-file`, which take effect when they are parsed."""
    carrier = typer.Typer(add_completion=False)

    @carrier.command()
    def _carry(
        verbose: Annotated[
            bool,
            typer.Option(
                "--verbose",
                "-v",
                expose_value=False,
                callback=logs.to_terminal,
                help="Print the outcome of each photo.",
                rich_help_panel=MESSAGES,
            ),
        ] = False,
        log_file: Annotated[
            Path | None,
            typer.Option(
                metavar="FILE",
                expose_value=False,
                callback=logs.to_file,
                help="Append the outcome of each photo to a file.",
                rich_help_panel=MESSAGES,
            ),
        ] = None,
    ) -> None: ...

    return typer.main.get_command(carrier).params


def _make_plain(node: Any, width: int) -> None:
    """Makes a command print its help without panels and colours, in a terminal with this number of columns."""
    node.rich_markup_mode = None
    for attribute in ("help", "epilog", "short_help"):
        text = getattr(node, attribute, None)
        if text:
            setattr(node, attribute, _MARKUP.sub("", text).replace("\\[", "["))
    if node.help and not node.short_help:
        node.short_help = " ".join(node.help.split("\n\n")[0].split())  # whole, where click would cut it off
    node.get_help = partial(_narrow_help, node, width=width)


def _narrow_help(node: Any, context: Any, width: int) -> str:
    """Formats help for less than the 50 columns that click takes at least; help starts below long names."""
    formatter = context.make_formatter()
    formatter.width = max(width, MIN_WIDTH)
    write = formatter.write_dl

    def write_dl(rows: Iterable[tuple[str, str]], *_: object, **__: object) -> None:
        room = formatter.width - formatter.current_indent - 4
        write([(_folded(term, room), text) for term, text in rows], col_max=min(30, formatter.width // 3))

    formatter.write_dl = write_dl
    node.format_help(context, formatter)
    return str(formatter.getvalue()).rstrip("\n")


def _folded(term: str, room: int) -> str:
    """Folds a name with many values between these."""
    lines = [""]
    for part in re.split(r"(?<=\|)", term):
        if lines[-1] and len(lines[-1]) + len(part) > room:
            lines.append("")
        lines[-1] += part
    return "\n      ".join(lines)
