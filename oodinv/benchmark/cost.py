"""What a model costs: seconds by stage, pictures a second, peak memory. Apart from scores, which must not vary.

Pictures are taken one at a time and after a warm-up, and the device is waited for before the clock is read.
"""

import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from oodinv.benchmark.score import to_batch
from oodinv.benchmark.stages import BenchmarkStages
from oodinv.benchmark.variants import Variant, invert_as, title
from oodinv.inversion import DTYPES, Inversion, decode, encode
from oodinv.models.encoders.base import Encoding
from oodinv.runs.sources.base import Job

WARM_UP = 2
Stage = Literal["read", "encode", "generate"]
T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """One variant's cost over `images` pictures after the warm-up.

    seconds: by stage, one entry a picture. memory: peak in bytes, of the device's allocator on CUDA, else of the
    whole process (metrics included); None where the system doesn't say.
    """

    variant: str
    device: str
    images: int
    seconds: dict[Stage, list[float]]
    memory: int | None

    def median(self, stage: Stage) -> float:
        """Median seconds a picture."""
        return float(np.median(self.seconds[stage]))

    def p95(self, stage: Stage) -> float:
        """95th percentile of seconds a picture."""
        return float(np.quantile(self.seconds[stage], 0.95))

    @property
    def images_per_second(self) -> float:
        """Pictures encoded and generated a second, one at a time, without reading them."""
        return self.images / (sum(self.seconds["encode"]) + sum(self.seconds["generate"]))


def device_name(device: torch.device) -> str:
    """The device as a table names it."""
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
    """Peak bytes: of the device's allocator on CUDA, else of the process so far; None where that can't be told."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def timed(device: torch.device, work: Callable[[], T]) -> tuple[T, float]:
    """A result and the seconds it took, the device's queue empty before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - start


def measure(stages: BenchmarkStages, jobs: list[Job]) -> list[Cost]:
    """Cost of each variant over up to `recipe.cost_images` of these photos, which have to be readable.

    Reading and encoding are the same for all variants and measured once.
    """
    chosen = jobs[: stages.recipe.cost_images]
    if not chosen:
        return []
    prepared = [_prepare(stages, job) for job in [*(chosen * WARM_UP)[:WARM_UP], *chosen]][WARM_UP:]
    return [_measure_variant(stages, variant, prepared) for variant in stages.variants]


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A crop (1, 3, H, W) on the device, its encoding, the full method's inversion, and what the first two took."""

    seen: Tensor
    encoding: Encoding
    full: Inversion
    seconds: dict[Stage, float]


def _prepare(stages: BenchmarkStages, job: Job) -> _Prepared:
    device, dtype = stages.device, DTYPES[stages.dtype]
    content = job.path.read_bytes()
    crop, reading = timed(device, lambda: stages.read(job, content))
    seen = to_batch([crop.seen], device)
    encoding, encoding_took = timed(device, lambda: encode(stages.model, seen, dtype))
    full = decode(stages.model, seen, encoding.w_plus.float(), encoding, "fixed", dtype)
    return _Prepared(seen, encoding, full, {"read": reading, "encode": encoding_took})


def _measure_variant(stages: BenchmarkStages, variant: Variant, prepared: list[_Prepared]) -> Cost:
    device = stages.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    runs = [_generate(stages, variant, one) for one in [*(prepared * WARM_UP)[:WARM_UP], *prepared]][WARM_UP:]
    seconds: dict[Stage, list[float]] = {
        "read": [one.seconds["read"] for one in prepared],
        "encode": [one.seconds["encode"] for one in prepared],
        "generate": runs,
    }
    return Cost(title(variant), device_name(device), len(prepared), seconds, peak_memory(device))


def _generate(stages: BenchmarkStages, variant: Variant, one: _Prepared) -> float:
    """Seconds of one variant's generation; what is left of the full method's run is not counted in its favour."""
    model, dtype, w_plus = stages.model, DTYPES[stages.dtype], one.encoding.w_plus.float()

    def work() -> Inversion:
        if variant not in ("full", "no-mask", "laplacian", "poisson"):
            return invert_as(variant, model, one.seen, one.encoding, one.full, dtype)
        full = decode(model, one.seen, w_plus, one.encoding, "fixed", dtype)
        return invert_as(variant, model, one.seen, one.encoding, full, dtype)

    return timed(stages.device, work)[1]
