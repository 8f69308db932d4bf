"""Root of the command tree: global options, defaults from files, and help for narrow terminals."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from oodinv.cli import config, logs
from oodinv.cli.options import MESSAGES

NARROW = 70
"""Terminal width below which help is printed without panels, as these would truncate option names."""
_MARKUP = re.compile(r"(?<!\\)\[/?[a-z ]*\]")


class Root(TyperGroup):
    """`oodinv` itself."""

    def __init__(self, **settings: Any) -> None:
        """Adds the logging options to all sub-commands."""
        super().__init__(**settings)
        for node in _nodes(self):
            if not hasattr(node, "commands"):
                node.params += _logging_options()

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Extends click's method with defaults from the user's files and with plain help on narrow terminals."""
        if shutil.get_terminal_size().columns < NARROW:
            for node in (self, *_nodes(self)):
                _make_plain(node)
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


def _make_plain(node: Any) -> None:
    """Makes a command print its help without panels and colours."""
    node.rich_markup_mode = None
    for attribute in ("help", "epilog", "short_help"):
        text = getattr(node, attribute, None)
        if text:
            setattr(node, attribute, _MARKUP.sub("", text).replace("\\[", "["))
