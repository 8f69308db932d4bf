"""Runs the command line on pictures made here, in this process or in one of its own."""

import contextlib
import hashlib
import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from oodinv.cli.main import main

MAIN = [sys.executable, "-c", "from oodinv.cli.main import main; main()"]


FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["oodinv.workflows.invert", "oodinv.workflows.edit", "oodinv.training.loop"])


class Process:
    """Runs `oodinv` in a process of its own, forked from one that has imported torch already, which takes seconds.

    Follows `subprocess.Popen`; what it prints goes to files.
    """

    def __init__(self, commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> None:
        self.printed = [tempfile.NamedTemporaryFile(prefix="printed-") for _ in range(2)]  # noqa: SIM115
        names = [file.name for file in self.printed]
        self.process = FORK.Process(target=run_commands, args=(commands, dict(environment), Path.cwd(), names))
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = 600) -> int:
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still running after {timeout} s"
        return self.process.exitcode

    def communicate(self, timeout: float = 600) -> tuple[str, str]:
        """Waits for its end; what it printed to stdout and stderr."""
        self.wait(timeout)
        out, err = (file.read().decode() for file in self.printed)
        return out, err


def run_commands(commands: Sequence[Sequence[str]], environment: dict[str, str], folder: Path, out: list[str]) -> None:
    """Runs commands one after another, up to the first that fails; in the forked process."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, name in zip((1, 2), out, strict=True):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND), descriptor)
    for arguments in commands:
        sys.argv = ["oodinv", *arguments]
        try:
            main()
        except SystemExit as stop:
            if stop.code:
                raise


def start(*arguments: str | Path, environment: Mapping[str, str] = os.environ) -> Process:
    """Starts `oodinv ARGUMENTS`."""
    return Process([list(map(str, arguments))], environment)


def call_all(*commands: tuple[str | Path, ...]) -> "subprocess.CompletedProcess[str]":
    """Runs commands one after another in one process, up to the first that fails."""
    process = Process([list(map(str, arguments)) for arguments in commands], os.environ)
    out, err = process.communicate()
    return subprocess.CompletedProcess(commands, process.wait(), out, err)


def call(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Runs `oodinv ARGUMENTS` to its end."""
    return call_all(arguments)


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
