"""Every command answers `--help` at once, without torch, and documents all that it takes."""

import functools
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from command import call, call_here

from oodinv.cli.main import app

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text()
LIBRARIES = "import typer.rich_utils, rich.markdown, rich.traceback, pydantic.main"
"""Imports that every help text needs."""
SHARE = 4.0
"""Longest processor time of a help text, as a multiple of that of LIBRARIES, so that slow machines don't matter."""


def commands(node: typer.core.TyperCommand, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    yield path, node
    for name, child in getattr(node, "commands", {}).items():
        yield from commands(child, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


SCRIPT = """
import sys
from oodinv.cli.main import main
try:
    main()
finally:
    print(*({'torch', 'cv2', 'face_alignment'} & set(sys.modules)), file=sys.stderr)
"""


def run_script(script: str, *arguments: str) -> tuple[float, str]:
    """Runs a script in a process of its own; returns its processor seconds and its standard error."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime), done.stderr.strip()


def run_help(path: tuple[str, ...]) -> tuple[float, str]:
    """Prints the help of a command; returns the processor seconds, and heavy packages that it imported."""
    return run_script(SCRIPT, *path, "--help")


@functools.cache
def of_libraries() -> float:
    """Mean processor seconds of importing LIBRARIES."""
    return sum(run_script(LIBRARIES)[0] for _ in range(3)) / 3


first_run = functools.cache(run_help)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_answers_at_once(path: tuple[str, ...]) -> None:
    """Processor time rather than time on the clock, which other work on the machine would lengthen."""
    assert any(run(path)[0] < SHARE * of_libraries() for run in (first_run, run_help, run_help))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_imports_no_torch(path: tuple[str, ...]) -> None:
    assert first_run(path)[1] == ""


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
