"""Every command answers `--help` at once, without torch, and documents all that it takes."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from command import call, call_here

from oodinv.cli.main import app

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text()
SHARE = 4.0
"""Longest processor time of a help text, as a multiple of that of the libraries that every help text needs, so that
slow machines don't matter.
"""


def commands(node: typer.core.TyperCommand, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    yield path, node
    for name, child in getattr(node, "commands", {}).items():
        yield from commands(child, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


SCRIPT = """
import json, os, sys, time
import typer.rich_utils, rich.markdown, rich.traceback, pydantic.main
libraries = time.process_time()
for path in json.loads(sys.argv[1]):
    if os.fork() == 0:  # what is imported from here on, no other command has
        from oodinv.cli.main import main
        sys.argv = ["oodinv", *path, "--help"]
        try:
            main()
        except SystemExit as stop:
            if not stop.code:
                heavy = {'torch', 'cv2', 'face_alignment'} & set(sys.modules)
                print(json.dumps([path, time.process_time() / libraries, *heavy]), file=sys.stderr, flush=True)
        os._exit(0)
    os.wait()
"""


def run_help(*paths: tuple[str, ...]) -> dict[tuple[str, ...], tuple[float, list[str]]]:
    """Prints the help of commands, each in a process of its own that has imported the libraries.

    Returns for each command its processor time, the libraries' included, as a multiple of theirs, and heavy packages
    that it imported.
    """
    command = [sys.executable, "-c", SCRIPT, json.dumps(paths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    return {tuple(path): (1 + share, heavy) for path, share, *heavy in lines}


@functools.cache
def first_run() -> dict[tuple[str, ...], tuple[float, list[str]]]:
    """Of all commands."""
    return run_help(*ALL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_answers_at_once(path: tuple[str, ...]) -> None:
    """Processor time rather than time on the clock, which other work on the machine would lengthen."""
    found = (run()[path][0] for run in (first_run, lambda: run_help(path), lambda: run_help(path)))
    assert any(share < SHARE for share in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_imports_no_torch(path: tuple[str, ...]) -> None:
    assert first_run()[path][1] == []


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_commands_and_options_say_what_they_do(path: tuple[str, ...]) -> None:
    command = ALL[path]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{' '.join(path)}: {parameter.name} has no help"


@pytest.mark.parametrize("path", [p for p, command in ALL.items() if not hasattr(command, "commands")], ids=" ".join)
def test_every_command_has_a_machine_readable_summary(path: tuple[str, ...]) -> None:
    assert any("--json" in parameter.opts for parameter in ALL[path].params)


@pytest.mark.parametrize("path", [p for p in ALL if p], ids=" ".join)
def test_every_command_is_documented_with_its_options(path: tuple[str, ...]) -> None:
    _, heading, rest = PAGE.partition(f"# oodinv {' '.join(path)}\n")
    assert heading
    section = rest.partition("\n## ")[0].partition("\n### ")[0]
    options = [parameter.opts[-1] for parameter in ALL[path].params if parameter.opts[-1].startswith("-")]
    if not hasattr(ALL[path], "commands"):
        assert not [option for option in options if f"`{option}" not in section and option != "--help"]


def test_usage_errors_have_status_two_and_others_one() -> None:
    assert call("invert").returncode == 2
    assert call_here("invert", "x", "-o", "y", "--device", "abacus").returncode in (1, 2)
    missing = call_here("invert", "nowhere.jpg", "-o", "unused")
    assert missing.returncode == 1
    assert "nowhere.jpg" in missing.stderr
    assert "Traceback" not in missing.stderr
    assert call("--version").stdout.startswith("oodinv ")
