"""Runs the command line on pictures made here, in this process or in one of its own."""

import contextlib
import hashlib
import io
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from oodinv.cli.main import main

MAIN = [sys.executable, "-c", "from oodinv.cli.main import main; main()"]


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    """Starts `oodinv ARGUMENTS`, its output in pipes."""
    pipe = subprocess.PIPE
    return subprocess.Popen([*MAIN, *map(str, arguments)], stdout=pipe, stderr=pipe, text=True)


def call(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Runs `oodinv ARGUMENTS` to its end."""
    return subprocess.run([*MAIN, *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False)


EACH = """
import sys
from oodinv.cli.main import main
commands = [[]]
for word in sys.argv[1:]:
    commands.append([]) if word == ";" else commands[-1].append(word)
for sys.argv in commands:
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            print(*sys.argv, "failed", file=sys.stderr)
            raise
"""


def call_all(*commands: tuple[str | Path, ...]) -> "subprocess.CompletedProcess[str]":
    """Runs commands one after another in one process, up to the first that fails."""
    words = [str(word) for arguments in commands for word in (";", "oodinv", *arguments)][1:]
    command = [sys.executable, "-c", EACH, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def call_here(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Runs `oodinv ARGUMENTS` to its end in this process, which saves the seconds in which torch is imported."""
    out, err = io.StringIO(), io.StringIO()
    argv = mock.patch.object(sys, "argv", ["oodinv", *map(str, arguments)])
    with argv, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return subprocess.CompletedProcess(sys.argv, status, out.getvalue(), err.getvalue())


def smooth_crops(folder: Path, count: int) -> Path:
    """So many pictures of 32 px, p0.png and on, written to a folder."""
    rng = np.random.default_rng(0)
    for n in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"p{n}.png")
    return folder


def write_copies(samples: Path, folder: Path, count: int) -> None:
    """Photos with one face each: the samples, shrunk and mirrored, no two alike."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = sorted(p for p in samples.iterdir() if p.suffix != ".md")
    for n in range(count):
        with Image.open(sources[n % len(sources)]) as source:
            photo = source.convert("RGB")
        photo.thumbnail((240 + 2 * n, 240 + 2 * n))
        if n % 2:
            photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        photo.save(folder / f"good-{n:02d}.{'jpg' if n % 3 else 'png'}")


def numbered_photos(folder: Path, count: int) -> Path:
    """Writes files 00.jpg, 01.jpg, … without pictures; 03 contains "bad", 07 "bug"."""
    folder.mkdir()
    for n in range(count):
        content = {3: b"bad", 7: b"bug"}.get(n, f"photo {n}".encode())
        (folder / f"{n:02d}.jpg").write_bytes(content)
    return folder


def files(folder: Path) -> dict[str, str]:
    """The sha256 of every file below a folder but the manifest, by its relative path."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    found = {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
    found.pop("manifest.jsonl", None)
    return found


def differing(one: Path, two: Path) -> list[str]:
    """Files that only one of two folders has, or that differ: a list of names, to be shown when it isn't empty."""
    left, right = files(one), files(two)
    return sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
