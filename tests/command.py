"""Runs the command line in a process of its own, as a user would, on pictures made here."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

MAIN = [sys.executable, "-c", "from oodinv.cli.main import main; main()"]


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    """Starts `oodinv ARGUMENTS`, its output in pipes."""
    pipe = subprocess.PIPE
    return subprocess.Popen([*MAIN, *map(str, arguments)], stdout=pipe, stderr=pipe, text=True)


def call(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Runs `oodinv ARGUMENTS` to its end."""
    return subprocess.run([*MAIN, *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False)


def smooth_crops(folder: Path, count: int) -> Path:
    """So many pictures of 32 px, p0.png and on, written to a folder."""
    rng = np.random.default_rng(0)
    for n in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"p{n}.png")
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
