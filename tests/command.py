"""Runs the command line in a process of its own, as a user would."""

import subprocess
import sys
from pathlib import Path

MAIN = [sys.executable, "-c", "from oodinv.cli.main import main; main()"]


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    """Starts `oodinv ARGUMENTS`, its output in pipes."""
    pipe = subprocess.PIPE
    return subprocess.Popen([*MAIN, *map(str, arguments)], stdout=pipe, stderr=pipe, text=True)


def call(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Runs `oodinv ARGUMENTS` to its end."""
    return subprocess.run([*MAIN, *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the manifest, by its relative path."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    found.pop("manifest.jsonl", None)
    return found
