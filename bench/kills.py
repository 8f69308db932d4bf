"""Kills runs over one folder again and again, lets the last one end, and compares with a run that nobody disturbed.

    python bench/kills.py [--kills 200] [--photos 240] [--seed 0]

Each run is a process that does what `oodinv invert` does, on a tiny model with random weights and small crops, and
gets SIGKILL at a random moment: while it claims the folder, reads what earlier runs left, computes, writes, or puts
the manifest in order. At the end both folders must have the same files with the same bytes; of the manifest, all but
the seconds. Exit status 1 if they differ. Needs a system with fork, which saves each run the time of the imports.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tiny import SIZE, write_card

from oodinv.runs import runner
from oodinv.runs.collect import collect
from oodinv.runs.manifest import FILE_NAME
from oodinv.runs.sinks import output_names
from oodinv.weights.build import load_named
from oodinv.workflows.invert import InvertStages, invert_header

CHUNK = 4


@dataclass(frozen=True)
class Kill:
    """When to kill a run: so many seconds after so many events of it."""

    events: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """How often a run was killed, how often one ended before that, and how the folder differs from the undisturbed."""

    killed: int
    ended: int
    differences: list[str]


def write_photos(folder: Path, count: int) -> Path:
    """Small pictures of noise; every tenth is no picture, and fails in every run."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(count):
        path = folder / f"{n:05d}.png"
        if n % 10 == 9:
            path.write_bytes(b"no picture")
        else:
            Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(path)
    return folder


def invert(card: Path, photos: Path, output: Path, restart: bool = False) -> Iterator[object]:
    """What `oodinv invert --aligned` does; yields its events."""
    cpu = torch.device("cpu")
    stages = InvertStages(load_named(str(card)), cpu, "float32", None, "fixed", CHUNK, frozenset(output_names()))
    jobs, header = collect([photos], output), invert_header(stages, "yunet")
    return runner.run(runner.local(stages), jobs, output, header, chunk=CHUNK, restart=restart)


def forked(work: Callable[[], Iterator[object]], kill: Kill | None = None) -> bool:
    """Goes through the events of `work` in a process of its own, killed or not; whether it came to its end.

    Raises:
        SystemExit: it came to a bad end by itself.
    """
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        try:
            for _ in work():
                os.write(told, b".")
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    os.close(told)
    if kill is not None:
        if kill.events:
            listen(heard, kill.events)
        time.sleep(kill.seconds)
        os.kill(child, signal.SIGKILL)
    drain(heard)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) == 1:
        raise SystemExit("a run failed by itself")
    return status == 0


def listen(heard: int, events: int) -> None:
    """Waits for so many events, or for the end of the process that has them."""
    while events and (found := os.read(heard, events)):
        events -= len(found)


def drain(heard: int) -> None:
    """Waits for the end of the process that has the events."""
    while os.read(heard, 1 << 16):
        pass
    os.close(heard)


def tree(folder: Path) -> dict[str, bytes]:
    """All files by path; the manifest without the seconds that each photo took."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    lines = found[FILE_NAME].decode().splitlines()
    return found | {FILE_NAME: "\n".join(json.dumps(json.loads(line) | {"seconds": 0}) for line in lines).encode()}


def disturb(place: Path, kills: int, count: int, seed: int) -> Outcome:
    """The whole experiment in an empty folder.

    A run that ends before it is killed has nothing left to do; the next one then starts the folder over, so that
    the clearing of results is disturbed too.
    """
    card = write_card(place)
    photos = write_photos(place / "photos", count)
    whole, torn = place / "whole", place / "torn"
    begun = time.perf_counter()
    forked(lambda: invert(card, photos, whole))
    a_photo = (time.perf_counter() - begun) / count
    rng = random.Random(seed)
    killed = ended = 0
    restart = False
    while killed < kills:
        first = rng.random() < 0.2  # before anything is done: while the folder is claimed and looked through
        moment = Kill(0, rng.uniform(0, 20 * a_photo)) if first else Kill(rng.randint(1, 12), rng.uniform(0, a_photo))
        ended_first = forked(partial(invert, card, photos, torn, restart), moment)
        ended += ended_first
        killed += not ended_first
        restart = ended_first
        if killed % 20 == 0 and not ended_first:
            print(f"{killed} kills", file=sys.stderr, flush=True)
    forked(lambda: invert(card, photos, torn))
    a, b = tree(whole), tree(torn)
    return Outcome(killed, ended, sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills runs over one folder and compares the result.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--photos", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        found = disturb(Path(scratch), options.kills, options.photos, options.seed)
    print(f"{found.killed} kills, {found.ended} runs that ended before theirs, {time.perf_counter() - start:.0f} s")
    print(f"files that differ: {', '.join(found.differences) or 'none'}")
    if found.differences:
        sys.exit(1)


if __name__ == "__main__":
    main()
