"""Seconds per photo by stage, photos per second and peak memory of `oodinv invert`, at several batch sizes.

    python bench/stages.py FOLDER [--model NAME] [--batch-sizes 1,4,16] [--refine 0] [--limit 32] [--device auto]
                                  [--json]

Stages run one after the other here, so that each can be timed; `oodinv invert` overlaps reading and writing with
computing. Reading is decoding, finding faces and cutting them out. Photos without a readable face are left out.
"""

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from oodinv import DEFAULT_MODEL
from oodinv import device as devices
from oodinv.benchmark.cost import device_name, peak_memory, timed
from oodinv.errors import OodinvError
from oodinv.faces.detectors.yunet import Yunet
from oodinv.fitting.refinement import Refined, refiner_for
from oodinv.inversion import DTYPES, artefacts, decode, encode, parse
from oodinv.models.generators.base import photo_noise
from oodinv.runs.collect import collect
from oodinv.runs.sinks import output_names
from oodinv.weights.build import load_named
from oodinv.weights.pull import pull
from oodinv.workflows.invert import Inverted, InvertStages, Portrait


@dataclass(frozen=True)
class Figures:
    """Seconds a face by stage, and peak bytes: of the device's allocator on CUDA, else of the process so far."""

    batch_size: int
    faces: int
    read: float
    encode: float
    refine: float
    generate: float
    convert: float
    write: float
    peak_bytes: int

    @property
    def faces_per_second(self) -> float:
        """With stages one after the other."""
        return 1 / (self.read + self.encode + self.refine + self.generate + self.convert + self.write)


def read_all(stages: InvertStages, folder: Path, limit: int) -> tuple[list[Portrait], float]:
    """Portraits of up to `limit` photos, and the seconds that reading took."""
    portraits, seconds = [], 0.0
    for job in collect([folder])[:limit]:
        content = job.path.read_bytes()
        try:
            portrait, took = timed(torch.device("cpu"), partial(stages.read, job, content))
        except OodinvError:
            continue
        portraits.append(portrait)
        seconds += took
    return portraits, seconds


def run(stages: InvertStages, portraits: list[Portrait], out: Path) -> dict[str, float]:
    """Computes and writes some photos; seconds by stage."""
    device, dtype = stages.device, DTYPES[stages.dtype]
    subjects = [subject for portrait in portraits for subject in portrait.subjects]
    crops = torch.stack([subject.tensor() for subject in subjects]).to(device)
    encoding, encoded = timed(device, lambda: encode(stages.model, crops, dtype))
    plain = Refined(encoding.w_plus.float(), encoding.w_plus.float(), dict(encoding.noise), {})
    better, refined = timed(device, lambda: stages.refiner.refine(crops, encoding) if stages.refiner else plain)
    source, noise = better.alignments or encoding, photo_noise("fixed", better.noise)
    found, generated = timed(device, lambda: decode(stages.model, crops, better.w_plus, source, noise, dtype))
    faces, converted = timed(device, lambda: iter(artefacts(subjects, found, parse([s.crop for s in subjects]))))
    results = [Inverted(portrait, [next(faces) for _ in portrait.subjects]) for portrait in portraits]
    _, written = timed(device, lambda: [stages.write(result, out) for result in results])
    return {"encode": encoded, "refine": refined, "generate": generated, "convert": converted, "write": written}


def measure(stages: InvertStages, portraits: list[Portrait], reading: float) -> Figures:
    """One batch size, over all photos, after one batch that doesn't count."""
    device, size = stages.device, stages.batch_size
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    batches = [portraits[i : i + size] for i in range(0, len(portraits), size)]
    totals = dict.fromkeys(("encode", "refine", "generate", "convert", "write"), 0.0)
    with tempfile.TemporaryDirectory() as out:
        run(stages, batches[0], Path(out) / "warm-up")
        for batch in batches:
            for stage, seconds in run(stages, batch, Path(out)).items():
                totals[stage] += seconds
    faces = sum(len(portrait.subjects) for portrait in portraits)
    each = {stage: seconds / faces for stage, seconds in totals.items()}
    return Figures(size, faces, reading / faces, **each, peak_bytes=peak_memory(device) or 0)


def show(found: list[Figures]) -> None:
    """Prints a table, times in milliseconds a face."""
    columns = ("batch", "read", "encode", "refine", "generate", "convert", "write", "faces/s", "GB")
    print("".join(f"{column:>10}" for column in columns))
    for f in found:
        stages = "".join(f"{1000 * s:10.1f}" for s in (f.read, f.encode, f.refine, f.generate, f.convert, f.write))
        print(f"{f.batch_size:10}{stages}{f.faces_per_second:10.2f}{f.peak_bytes / 1e9:10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds a photo by stage.")
    parser.add_argument("folder", type=Path, help="folder of photos")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or card")
    parser.add_argument("--batch-sizes", default="1,4,16", help="photos computed together, rising")
    parser.add_argument("--refine", type=int, default=0, help="steps of refinement")
    parser.add_argument("--limit", type=int, default=32, help="most photos to look at")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    device = devices.choose(options.device)
    model, detector = load_named(options.model).to(device), Yunet(pull("yunet"))
    sizes = [int(size) for size in options.batch_sizes.split(",")]
    plain = InvertStages(model, device, options.dtype, detector, "fixed", sizes[0], frozenset(output_names()))
    refiner = refiner_for(model, options.refine)
    stages = [replace(plain, batch_size=size, refiner=refiner) for size in sizes]
    portraits, reading = read_all(stages[0], options.folder, options.limit)
    if not portraits:
        parser.error(f"no face found in the photos of {options.folder}")
    found = [measure(some, portraits, reading) for some in stages]
    if options.json:
        print(json.dumps({"device": device_name(device), "batches": [asdict(figures) for figures in found]}))
    else:
        print(device_name(device))
        show(found)


if __name__ == "__main__":
    main()
