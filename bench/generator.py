"""Speed and memory of one 1024 px crop through a model's networks, beside the published way and other backends.

    python bench/generator.py [--model ffhq-mobile] [--threads 1,2] [--repeats 3] [--stored IR] [--json]

Each row is a process of its own. `published` is e4e, StyleGAN2 and SAMM with random weights, computed step by step
(`bench/straightforward.py`); the other rows are this project's model from crop to picture, through PyTorch and each
backend that is installed. `stored` is the generator alone, by OpenVINO from the file that it came in: pass the folder
of the pulled weights. Prints, for each, processor and wall seconds of a crop (the best of the repeats, after one that
doesn't count), the process's peak memory, and how often the published way's processor time goes into it; then, with
PyTorch, processor seconds by stage.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from oodinv.backends import BACKENDS, TORCH

PUBLISHED, STORED = "published", "stored"


def best(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Processor and wall seconds, the best of each."""
    work()
    processor, wall = [], []
    for _ in range(repeats):
        start, began = time.process_time(), time.perf_counter()
        work()
        processor.append(time.process_time() - start)
        wall.append(time.perf_counter() - began)
    return min(processor), min(wall)


def crop(size: int) -> torch.Tensor:
    """A picture of smooth noise, (1, 3, size, size)."""
    torch.manual_seed(0)
    coarse = torch.randn(1, 3, 16, 16)
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear").clamp(-1, 1)


def stages(model: Any, repeats: int) -> dict[str, float]:
    """Processor seconds of the encoder, of each block of the generator, and of all of it."""
    from oodinv.models.synthesis import synthesize

    generator, image, found = model.generator, crop(model.card.size), {}
    with torch.inference_mode():
        found["encoder"] = best(lambda: model.encoder.encode(image, generator), repeats)[0]
        w_plus = model.encoder.encode(image, generator).w_plus
        features = generator.start(w_plus, "fixed")
        *_, last = generator.taps
        for key in generator.taps:
            work = generator.conclude if key == last else generator.run
            found[f"block {key}"] = best(partial(work, features, w_plus, key, "fixed"), repeats)[0]
            features = generator.run(features, w_plus, key, "fixed")
        found["generator"] = best(lambda: synthesize(generator, w_plus), repeats)[0]
    return found


def run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measures one row in this process."""
    threads = int(options.threads)
    torch.set_num_threads(threads)
    found: dict[str, Any] = {}
    started = time.perf_counter()
    if name == PUBLISHED:
        import straightforward
        from network import random_model

        published, image = random_model()
        work: Callable[[], object] = partial(straightforward.invert, published, image)
    elif name == STORED:
        from oodinv.backends import openvino

        session = openvino.start(options.stored / "SynthesisNetwork.xml", threads)
        work = partial(session, [torch.zeros(1, 512).numpy()])
    else:
        from oodinv.backends.compiled import compile_model
        from oodinv.inversion import invert
        from oodinv.weights.build import load_named

        model = load_named(options.model)
        if name != TORCH:
            backend = next(backend for backend in BACKENDS if backend.name == name)
            model = compile_model(model, backend, "fixed", lambda text: print(text, file=sys.stderr))
        elif options.by_stage:
            return stages(model, options.repeats)
        image = crop(model.card.size)
        work = partial(invert, model, image)
    found["start"] = time.perf_counter() - started
    found["processor"], found["wall"] = best(work, options.repeats)
    found["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found


def measured(name: str, threads: str, options: argparse.Namespace, *more: str) -> dict[str, Any]:
    """Measures one row in a process of its own."""
    command = [sys.executable, __file__, "--run", name, "--threads", threads, "--model", options.model, *more]
    command += ["--repeats", str(options.repeats)] + (["--stored", str(options.stored)] if options.stored else [])
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=os.environ | {"OMP_NUM_THREADS": threads})
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory of one 1024 px crop.")
    parser.add_argument("--model", default="ffhq-mobile", help="name or card")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, separated by commas")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stored", type=Path, help="folder of the generator's OpenVINO files")
    parser.add_argument("--skip", action="append", default=[], help="row to leave out")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--by-stage", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(run(options.run, options)))
        return
    rows = [PUBLISHED, TORCH, *(backend.name for backend in BACKENDS if not backend.missing)]
    rows += [STORED] if options.stored else []
    report: dict[str, Any] = {}
    for threads in options.threads.split(","):
        report[threads] = {name: measured(name, threads, options) for name in rows if name not in options.skip}
    first = options.threads.split(",")[0]
    report["stages"] = measured(TORCH, first, options, "--by-stage")
    if options.json:
        print(json.dumps(report))
        return
    for threads in options.threads.split(","):
        print(f"{threads + ' threads':16}{'cpu s':>12}{'wall s':>10}{'GB':>8}{'start s':>10}{'ratio':>8}")
        base = report[threads].get(PUBLISHED)
        for name, row in report[threads].items():
            ratio = f"{base['processor'] / row['processor']:8.1f}" if base else ""
            print(
                f"{name:16}{row['processor']:12.3f}{row['wall']:10.3f}{row['peak_bytes'] / 1e9:8.2f}"
                f"{row['start']:10.2f}{ratio}"
            )
    print("PyTorch by stage, cpu s:")
    for name, seconds in report["stages"].items():
        print(f"{name:16}{seconds:12.3f}")


if __name__ == "__main__":
    main()
