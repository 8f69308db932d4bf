"""Cost of a model: seconds by stage, pictures per second, peak memory.

Pictures are processed one at a time after a warm-up; the device is synchronised before the clock is read. Cost is
separate from scores, which are bitwise reproducible.
"""

import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch

from oodinv.benchmark.ablations import Ablation, EncodedBatch
from oodinv.benchmark.score import to_batch
from oodinv.benchmark.stages import BenchmarkStages
from oodinv.inversion import DTYPES, Inversion, decode, encode
from oodinv.models.generators.base import photo_noise
from oodinv.reporting.tables import Column, Table, TableRow, Value
from oodinv.runs.sources.base import Job

WARM_UP = 2
Stage = Literal["read", "encode", "generate"]
T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """One ablation's cost over `images` pictures after the warm-up.

    seconds: by stage, one entry a picture. memory: peak in bytes, of the device's allocator on CUDA, else of the
    whole process (metrics included); None where unknown.
    """

    ablation: str
    device: str
    images: int
    seconds: dict[Stage, list[float]]
    memory: int | None

    def median(self, stage: Stage) -> float:
        """Median seconds per picture."""
        return float(np.median(self.seconds[stage]))

    def p95(self, stage: Stage) -> float:
        """95th percentile of seconds per picture."""
        return float(np.quantile(self.seconds[stage], 0.95))

    @property
    def images_per_second(self) -> float:
        """Pictures encoded and generated per second, one at a time, without the time to read them."""
        return self.images / (sum(self.seconds["encode"]) + sum(self.seconds["generate"]))


def device_name(device: torch.device) -> str:
    """Name of the device for tables."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "CPU"


def peak_memory(device: torch.device) -> int | None:
    """Peak bytes: of the device's allocator on CUDA, else of the process so far; None where unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def timed(device: torch.device, work: Callable[[], T]) -> tuple[T, float]:
    """Runs a function between synchronisations of the device; returns its result and the seconds it took."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - start


def measure(stages: BenchmarkStages, jobs: list[Job]) -> list[Cost]:
    """Measures each ablation over up to `recipe.cost_images` of these photos, which must be readable.

    Reading and encoding are the same for all ablations and measured once.
    """
    chosen = jobs[: stages.recipe.cost_images]
    if not chosen:
        return []
    prepared = [_prepare(stages, job) for job in [*(chosen * WARM_UP)[:WARM_UP], *chosen]][WARM_UP:]
    return [_measure(stages, ablation, prepared) for ablation in stages.ablations]


@dataclass(frozen=True, eq=False)
class _Prepared:
    """One crop, encoded and inverted, and the seconds of reading and encoding."""

    batch: EncodedBatch
    seconds: dict[Stage, float]


def _prepare(stages: BenchmarkStages, job: Job) -> _Prepared:
    device, dtype = stages.device, DTYPES[stages.dtype]
    content = job.path.read_bytes()
    crop, reading = timed(device, lambda: stages.read(job, content))
    seen = to_batch([crop.seen], device)
    encoding, encoding_took = timed(device, lambda: encode(stages.model, seen, dtype))
    full = decode(stages.model, seen, encoding.w_plus.float(), encoding, photo_noise("fixed", encoding.noise), dtype)
    batch = EncodedBatch(stages.model, seen, encoding, full, dtype)
    return _Prepared(batch, {"read": reading, "encode": encoding_took})


def _measure(stages: BenchmarkStages, ablation: Ablation, prepared: list[_Prepared]) -> Cost:
    device = stages.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    runs = [_generate(stages.device, ablation, one.batch) for one in [*(prepared * WARM_UP)[:WARM_UP], *prepared]][
        WARM_UP:
    ]
    seconds: dict[Stage, list[float]] = {
        "read": [one.seconds["read"] for one in prepared],
        "encode": [one.seconds["encode"] for one in prepared],
        "generate": runs,
    }
    return Cost(ablation.name, device_name(device), len(prepared), seconds, peak_memory(device))


def _generate(device: torch.device, ablation: Ablation, batch: EncodedBatch) -> float:
    """Seconds of one ablation's generation, with that of the full method where it starts from its result."""

    def work() -> Inversion:
        if not ablation.after_full:
            return ablation.invert(batch)
        full = batch.decode(batch.model, batch.encoding)
        return ablation.invert(replace(batch, full=full))

    return timed(device, work)[1]


_STAGES: dict[Stage, str] = {
    "read": "decoding a photo, finding its face and cropping it",
    "encode": "encoder",
    "generate": "generator with alignment, masks and composite",
}


def cost_table(costs: list[tuple[str, Cost]]) -> Table:
    """Seconds per picture by stage, pictures per second, peak memory; `costs` are (model, cost)."""
    columns = [
        part
        for stage, words in _STAGES.items()
        for part in (
            Column(f"{stage}_median", f"{stage} s", "lower", 4, f"{words}: seconds per picture, median"),
            Column(f"{stage}_p95", f"{stage} p95", "lower", 4, f"{words}: seconds per picture, 95th percentile"),
        )
    ]
    columns += [
        Column("images_per_second", "images/s", "higher", 2, "encoder and generator, one picture at a time"),
        Column(
            "memory", "peak MB", "lower", 0, "peak memory: of the GPU's allocator, or of the whole process on a CPU"
        ),
    ]
    rows = [TableRow((model, cost.ablation, cost.device), _cost_values(cost)) for model, cost in costs]
    images = costs[0][1].images if costs else 0
    notes = (f"{images} pictures, one at a time, after {WARM_UP} for warm-up; the device is synchronised.",)
    return Table("cost", "Cost", ("model", "variant", "device"), tuple(columns), tuple(rows), notes)


def _cost_values(cost: Cost) -> dict[str, Value]:
    values = {}
    for stage in _STAGES:
        values[f"{stage}_median"] = Value(cost.median(stage), count=cost.images)
        values[f"{stage}_p95"] = Value(cost.p95(stage), count=cost.images)
    values["images_per_second"] = Value(cost.images_per_second, count=cost.images)
    if cost.memory is not None:
        values["memory"] = Value(cost.memory / 1e6)
    return values
