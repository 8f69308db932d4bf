"""Writes commands.md: every command with its arguments and options, taken from the help texts."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from oodinv.cli.main import app

PAGE = Path(__file__).with_name("commands.md")
HEAD = """# Commands

<!-- Written by `make commands` from the help texts; change those, and not this page. -->

`oodinv COMMAND --help` shows the same in the terminal. Exit status: 0 all done, 1 an error or at least one failed
photo, 2 wrong usage, 130 interrupted. Progress and messages go to stderr; with `--json`, one summary goes to stdout.
"""


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The command and all that are below it, with their names."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


def section(path: tuple[str, ...], command: Any) -> str:
    """One command as Markdown."""
    lines = [f"{'#' * min(len(path) + 1, 3)} oodinv {' '.join(path)}", "", *prose(command.help or "")]
    if command.epilog:
        lines += ["", *prose(command.epilog)]
    rows = [row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
    if rows and not hasattr(command, "commands"):
        lines += ["", "| option | default | meaning |", "|---|---|---|", *rows]
    return "\n".join(lines) + "\n"


def prose(text: str) -> list[str]:
    """A help text as Markdown: without Rich's markup, its examples as code."""
    plain = re.sub(r"\[/?[a-z ]*\]", "", text.replace("[bold]Examples[/]", "Examples:")).replace("\\[", "[")
    lines = []
    for line in plain.splitlines():
        example = line.strip().startswith("oodinv ") or (" oodinv " in line and line.startswith("    "))
        lines.append(f"    {line.strip()}" if example else line.strip())
    return lines


def row(parameter: Any) -> str:
    """One argument or option as a row of a table."""
    if parameter.param_type_name == "argument":
        name = f"`{(parameter.metavar or parameter.human_readable_name).strip('{}[].').upper()}`"
    else:
        names = [*parameter.opts, *parameter.secondary_opts]
        kind = "" if parameter.is_flag else f" {placeholder(parameter)}"
        name = ", ".join(f"`{option}`" for option in names[:-1]) + (", " if names[:-1] else "") + f"`{names[-1]}{kind}`"
    shown = "required" if parameter.required else default(parameter)
    return f"| {cell(name)} | {cell(shown)} | {cell(getattr(parameter, 'help', None) or '')} |"


def placeholder(parameter: Any) -> str:
    """Placeholder of an option's value in its usage line."""
    choices = getattr(parameter.type, "choices", None)
    if parameter.metavar:
        return str(parameter.metavar)
    return "|".join(str(getattr(c, "value", c)) for c in choices) if choices else parameter.type.name.split()[0].upper()


def default(parameter: Any) -> str:
    """An option's default as the help shows it."""
    value = parameter.default
    value = getattr(value, "value", value)
    if callable(value) or value is None or value is False or str(value) in ("", "Sentinel.UNSET", "()", "[]"):
        return ""
    return f"`{', '.join(map(str, value)) if isinstance(value, list | tuple) else value}`"


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return re.sub(r"\s+", " ", re.sub(r"\[/?[a-z ]*\]", "", text)).replace("|", "\\|").strip()


def page() -> str:
    """The whole page."""
    root = typer.main.get_command(app)
    return "\n".join([HEAD, *(section(path, command) for path, command in commands(root) if path)])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
