"""Speed of the networks for one 1024 px photo with the e4e encoder, beside a straightforward implementation.

    python bench/network.py [--golden FOLDER] [--threads N] [--repeats N] [--json]

Weights are random, or those of the golden case in FOLDER (its `fill.py` and `ood_e4e_1024.*`), with whose stored
outputs all results are then compared too. The runs take turns in one process. Prints, for each, the fastest and the
median wall clock of a photo and its processor time, the peak of the process's memory during a run (weights included;
Linux only), the largest distance from the straightforward float32 result in standard deviations of it, and the PSNR of
the composite against ours in float32.
"""

import argparse
import ctypes
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import straightforward
import torch
from torch import Tensor

from oodinv.benchmark.cost import device_name
from oodinv.device import supports_natively
from oodinv.inversion import Inversion, invert
from oodinv.models.encoders.e4e import E4e
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.models.samm import Samm
from oodinv.recipe.card import ModelCard
from oodinv.weights.build import Model
from oodinv.weights.families import build_encoder, build_generator, build_samm
from oodinv.weights.reading.read import WeightsFile
from oodinv.weights.translation import translate

SIZE, SIZES = 1024, (32, 64, 128, 256)
CARD = {
    "name": "bench",
    "size": SIZE,
    "generator": {"kind": "stylegan2", "weights": "none"},
    "encoder": {"kind": "e4e", "weights": "none"},
    "samm": {"weights": "none", "sizes": list(SIZES), "cycles": 2, "flow_range": 0.08},
    "licence": "none",
}

Run = Callable[[Model, Tensor], Inversion]


def run_ours(dtype: torch.dtype) -> Run:
    """The library's inversion in a number format, without noise."""
    return lambda model, image: invert(model, image, noise="zero", dtype=dtype)


RUNS: dict[str, Run] = {
    "straightforward float32": straightforward.invert,
    "oodinv float32": run_ours(torch.float32),
    "oodinv bfloat16": run_ours(torch.bfloat16),
}
REFERENCE, OURS = "straightforward float32", "oodinv float32"


def random_model() -> tuple[Model, Tensor]:
    """Networks with values as they are before training, and a picture of noise at several scales."""
    torch.manual_seed(0)
    card = ModelCard.model_validate(CARD)
    generator, encoder = StyleGAN2(SIZE), E4e(num_ws=18)
    samm = Samm(
        {s: generator.channels[s] for s in SIZES},
        {s: encoder.tap_channels[s] for s in SIZES},
        cycles=2,
        flow_range=0.08,
    )
    for module in (generator, encoder, samm):
        module.eval().requires_grad_(False)
    coarse = [torch.randn(1, 3, s, s) / (n + 1) for n, s in enumerate((8, 32, 128))]
    image = sum((torch.nn.functional.interpolate(x, (SIZE, SIZE), mode="bilinear") for x in coarse), torch.zeros(1))
    return Model(card, Path("bench.yaml"), generator, encoder, samm, {}, ()), image.clamp(-1, 1)


def golden_fill(folder: Path) -> ModuleType:
    """The module among the golden cases that draws weights and images."""
    spec = importlib.util.spec_from_file_location("golden_fill", folder / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def golden_model(folder: Path) -> tuple[Model, Tensor]:
    """The networks and the picture of the golden case."""
    fill = golden_fill(folder)
    state: dict[str, Tensor] = fill.state_dict(fill.load_spec(folder / "ood_e4e_1024.spec.json.gz"))
    samm_keys = ("modulation.", "feats_conv.")
    networks = {
        f"state_dict.{'decoder.' + k.removeprefix('generator.') if k.startswith('generator.') else k}": v
        for k, v in state.items()
        if k.startswith(("encoder.", "generator."))
    }
    networks["latent_avg"] = state["avg_latent"].expand(18, -1)
    aligner = {f"params_ema.{k}": v for k, v in state.items() if k.startswith(samm_keys)}
    card = ModelCard.model_validate(CARD)
    assert card.samm is not None
    source = translate(WeightsFile(folder / "encoder.pth", "torch", networks, {}))
    generator, encoder = build_generator(source), build_encoder(source, card.encoder)
    assert source.average is not None
    encoder.w_avg = source.average.clone()
    samm = build_samm(card.samm, translate(WeightsFile(folder / "samm.pth", "torch", aligner, {})))
    image = torch.from_numpy(fill.image(SIZE, 1, seed=0))
    return Model(card, folder / "bench.yaml", generator, encoder, samm, {}, ()), image


def outputs(found: Inversion) -> dict[str, Tensor]:
    """What the golden case stores of a run, under its names."""
    return {
        "w_plus": found.w_plus,
        "mask": found.mask[:, :, ::4, ::4],
        "generated": found.generated[:, :, ::4, ::4],
        "image": found.composite[:, :, ::4, ::4],
        **{f"flow_{size}": a.flow for size, a in found.alignments.items()},
        **{f"mask_{size}": a.mask for size, a in found.alignments.items()},
    }


def deviation(found: dict[str, Tensor], stored: dict[str, Tensor]) -> float:
    """The largest |difference| over the standard deviation of what it is compared with, over all outputs."""
    return max(((found[k].float() - v).abs().max() / v.std()).item() for k, v in stored.items())


def psnr(found: Tensor, reference: Tensor) -> float:
    """In dB, of pictures (B, 3, H, W) in [−1, 1]."""
    error = (found.clamp(-1, 1) - reference.clamp(-1, 1)).square().mean().item()
    return float("inf") if error == 0 else float(10 * np.log10(4 / error))


def forget_peak() -> None:
    """Resets the process's peak memory, if the system can.

    Gives back first what the run before has freed and the C library keeps, where that is glibc.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    if (switch := Path("/proc/self/clear_refs")).exists():
        switch.write_text("5")


def peak_bytes() -> int | None:
    """Peak memory of the process since `forget_peak`."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@dataclass(frozen=True)
class Figures:
    """Cost of a run, and the distance of its result from others. wall, processor: seconds per photo."""

    wall: float
    wall_median: float
    processor: float
    peak_bytes: int | None
    deviation: float
    deviation_from_stored: float | None
    psnr: float


def measure(model: Model, image: Tensor, repeats: int, stored: dict[str, Tensor]) -> dict[str, Figures]:
    """Runs all in turns, `repeats` times after one that doesn't count."""
    walls: dict[str, list[float]] = {name: [] for name in RUNS}
    processors: dict[str, list[float]] = {name: [] for name in RUNS}
    peaks: dict[str, int | None] = {}
    results: dict[str, Inversion] = {}
    for _ in range(repeats + 1):
        for name, run in RUNS.items():
            forget_peak()
            wall, processor = time.perf_counter(), time.process_time()
            results[name] = run(model, image)
            walls[name].append(time.perf_counter() - wall)
            processors[name].append(time.process_time() - processor)
            peaks[name] = peak_bytes()
    reference = outputs(results[REFERENCE])
    return {
        name: Figures(
            wall=min(walls[name][1:]),
            wall_median=statistics.median(walls[name][1:]),
            processor=min(processors[name][1:]),
            peak_bytes=peaks[name],
            deviation=deviation(outputs(results[name]), reference),
            deviation_from_stored=deviation(outputs(results[name]), stored) if stored else None,
            psnr=psnr(results[name].composite, results[OURS].composite),
        )
        for name in RUNS
    }


def read_stored(folder: Path) -> dict[str, Tensor]:
    """The golden case's outputs of the unedited run."""
    with np.load(folder / "ood_e4e_1024.npz") as arrays:
        return {k: torch.from_numpy(arrays[k]) for k in arrays if not k.startswith("edited_")}


def show(found: dict[str, Figures]) -> None:
    """Prints a table."""
    columns = ("wall s", "median", "ratio", "cpu s", "ratio", "GB", "max/std", "PSNR")
    print(" " * 24 + "".join(f"{column:>9}" for column in columns))
    base = found[REFERENCE]
    for name, f in found.items():
        memory = "?" if f.peak_bytes is None else f"{f.peak_bytes / 1e9:.2f}"
        cells = (f.wall, f.wall_median, base.wall / f.wall, f.processor, base.processor / f.processor)
        print(
            f"{name:24}{''.join(f'{cell:9.2f}' for cell in cells)}{memory:>9}{f.deviation:9.1e}{f.psnr:9.1f}"
            + ("" if f.deviation_from_stored is None else f"  {f.deviation_from_stored:.1e} from the stored outputs")
        )
    if not supports_natively(torch.device("cpu"), torch.bfloat16):
        print("This CPU has no bfloat16 instructions: the row oodinv bfloat16 was computed in float32.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the networks for one 1024 px photo.")
    parser.add_argument("--golden", type=Path, metavar="FOLDER", help="folder of the golden cases")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; all cores unless told")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    model, image = random_model() if options.golden is None else golden_model(options.golden)
    stored = {} if options.golden is None else read_stored(options.golden)
    found = measure(model, image, options.repeats, stored)
    if options.json:
        cpu = torch.device("cpu")
        report: dict[str, Any] = {"device": device_name(cpu), "bfloat16": supports_natively(cpu, torch.bfloat16)}
        print(json.dumps(report | {name: asdict(figures) for name, figures in found.items()}))
    else:
        print(device_name(torch.device("cpu")))
        show(found)


if __name__ == "__main__":
    main()
