"""What a run is computed by: this process, or the workers of a Ray cluster. Imports torch: only for command bodies."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import typer

from oodinv.cli.options import EngineChoice
from oodinv.cli.prepare import choose_device, make_detector
from oodinv.inversion import Dtype
from oodinv.recipe.card import Crop
from oodinv.runs.pipeline import work_through
from oodinv.runs.ray_engine import Cluster, start
from oodinv.runs.runner import Engine
from oodinv.runs.sharding import Shard
from oodinv.runs.sinks import Output
from oodinv.weights.build import load_named
from oodinv.workflows.align import AlignStages, WhichFaces
from oodinv.workflows.invert import InvertStages, NoiseName

S = TypeVar("S", AlignStages, InvertStages)


def align_stages(device: str, *, detector: str, size: int, crop: Crop, faces: WhichFaces) -> AlignStages:
    """Stages of `oodinv align` on a device, as `--device` names it; Ray's workers make theirs here too."""
    return AlignStages(make_detector(detector, choose_device(device)), size, crop, faces)


def invert_stages(
    device: str,
    *,
    model: str,
    dtype: Dtype,
    detector: str | None,
    noise: NoiseName,
    batch_size: int,
    save: frozenset[Output],
    colour: float,
) -> InvertStages:
    """Stages of `oodinv invert`, as `align_stages`; without a detector for crops."""
    chosen = choose_device(device)
    return InvertStages(
        model=load_named(model).to(chosen),
        device=chosen,
        dtype=dtype,
        detector=None if detector is None else make_detector(detector, chosen),
        noise=noise,
        batch_size=batch_size,
        save=save,
        colour=colour,
    )


def choose_engine(
    make_stages: Callable[[str], S], device: str, engine: EngineChoice, workers: int | None, shard: Shard | None
) -> tuple[S, Engine]:
    """Stages for this process, which knows their settings, and what `--engine` and `--workers` name.

    Raises:
        typer.BadParameter: `--workers` without Ray, or Ray with a share of the run.
        OodinvError: Ray can't be had, or has too little for so many workers.
    """
    if engine is EngineChoice.local:
        if workers is not None:
            raise typer.BadParameter("is for --engine ray; leave it out", param_hint="--workers")
        stages = make_stages(device)
        return stages, partial(work_through, stages)
    if shard is not None:
        raise typer.BadParameter(
            "Ray hands out the photos itself; leave out --shard and torchrun", param_hint="--engine"
        )
    planned = start(workers, device)
    return make_stages("cpu"), Cluster(partial(make_stages, device), planned)
