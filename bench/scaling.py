"""Measures what a photo costs, and the peak memory, in folders of different sizes.

    python bench/scaling.py [--counts 50 1500] [--model NAME] [--photos FOLDER] [--batch-size 8] [-- INVERT OPTIONS]

Makes folders of so many photos, each run by `oodinv invert` in a process of its own: the shipped samples, or those of
FOLDER, in turn, each with noise of its own so that no two are the same. Every run's start (imports, weights, the first
batches) is measured by a run of two batches and taken off, so that a cost of a photo is a photo's alone. Prints, for
each count, seconds of the clock and of the processor a photo, and the peak of resident memory.

Options behind `--` go to `oodinv invert`; with `--aligned` the photos are cut to 256 px squares first.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image
from program import MAIN

from oodinv import DEFAULT_MODEL
from oodinv.imaging.formats import suffix_kind

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
CROP = 256


@dataclass(frozen=True)
class Run:
    """What one process took: seconds of the clock and of the processor, and its peak memory in MiB."""

    seconds: float
    processor: float
    peak: float


@dataclass(frozen=True)
class Cost:
    """A photo's part of a run, start taken off, and the run's peak memory in MiB."""

    photos: int
    seconds: float
    processor: float
    peak: float


def photos(folder: Path, aligned: bool) -> Iterator[Image.Image]:
    """The pictures of a folder, over and over, each time with other noise."""
    paths = [path for path in sorted(folder.iterdir()) if suffix_kind(path) == "readable"]
    originals = [Image.open(path).convert("RGB") for path in paths]
    if aligned:
        originals = [original.resize((CROP, CROP)) for original in originals]
    for seed, original in enumerate(cycle(originals)):
        noise = np.random.default_rng(seed).integers(-2, 3, (original.height, original.width, 3))
        yield Image.fromarray((np.asarray(original).astype(np.int64) + noise).clip(0, 255).astype(np.uint8))


def make_folder(folder: Path, count: int, source: Path, aligned: bool) -> Path:
    """Writes so many photos."""
    folder.mkdir()
    for n, photo in zip(range(count), photos(source, aligned), strict=False):
        photo.save(folder / f"{n:06d}.jpg", quality=90)
    return folder


def run(inputs: Path, output: Path, options: list[str]) -> Run:
    """Runs `oodinv invert` once; photos without a face may fail, which costs as much as finding none."""
    start = time.perf_counter()
    command = [*MAIN, "invert", str(inputs), "-o", str(output), "--quiet", *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1) or not (output / "manifest.jsonl").is_file():
        raise SystemExit(f"{' '.join(command)} failed")
    return Run(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure(counts: list[int], source: Path, batch: int, options: list[str]) -> Iterator[Cost]:
    """The cost of a photo at each count."""
    options = [*options, "--batch-size", str(batch)]
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        few = 2 * batch
        begin = run(make_folder(place / "start", few, source, "--aligned" in options), place / "out", options)
        for count in counts:
            inputs = make_folder(place / str(count), count, source, "--aligned" in options)
            whole = run(inputs, place / f"out-{count}", options)
            rest = count - few
            spent = (whole.seconds - begin.seconds) / rest, (whole.processor - begin.processor) / rest
            yield Cost(count, *spent, whole.peak)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what a photo costs in small and large folders.")
    parser.add_argument("--counts", type=int, nargs="+", default=[50, 1500], help="photos in each folder")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or card")
    parser.add_argument("--photos", type=Path, default=SAMPLES, help="folder of photos to start from")
    parser.add_argument("--batch-size", type=int, default=8, help="faces computed together")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("invert", nargs="*", metavar="-- INVERT OPTIONS", help="such as -- --aligned --device cpu")
    options = parser.parse_args()
    if min(options.counts) <= 2 * options.batch_size:
        parser.error("--counts: each must be more than two batches, which measure the start")
    found = measure(options.counts, options.photos, options.batch_size, ["--model", options.model, *options.invert])
    for cost in found:
        if options.json:
            print(json.dumps(asdict(cost)), flush=True)
        else:
            print(
                f"{cost.photos:6} photos: {cost.seconds:.4f} s and {cost.processor:.4f} s of processor each, "
                f"peak {cost.peak:.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
