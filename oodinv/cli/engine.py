"""Stages and engine of a run: this process or Ray workers. Imports torch: import only in command bodies."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import typer

from oodinv.cli.groups import AlignComputeOptions
from oodinv.cli.options import Chosen
from oodinv.cli.prepare import choose_backend, choose_device, make_detector, make_selection, run_by
from oodinv.editing.apply import Editor
from oodinv.editing.plan import no_person, prepare
from oodinv.faces.selection import ALL
from oodinv.fitting.refinement import refiner_for
from oodinv.fitting.tuning import tuner_for
from oodinv.imaging.encode import AS_SOURCE, OutputFormat
from oodinv.inversion import Dtype
from oodinv.recipe.card import Crop
from oodinv.recipe.edit import EditRecipe
from oodinv.runs.pipeline import Stages
from oodinv.runs.ray_engine import Cluster, Workers, start
from oodinv.runs.results import Results, read_person
from oodinv.runs.runner import Engine, local
from oodinv.runs.sharding import Shard
from oodinv.weights.build import Model, load_named
from oodinv.workflows.align import AlignStages
from oodinv.workflows.edit import EditStages
from oodinv.workflows.invert import InvertStages, NoiseName

S = TypeVar("S", bound=Stages)  # type: ignore[type-arg]


def align_stages(device: str, *, detector: str, size: int, crop: Crop, chosen: Chosen) -> AlignStages:
    """Builds the stages of `oodinv align`. device: a value of `--device`. Also called by Ray workers."""
    made = make_detector(detector, choose_device(device))
    return AlignStages(made, size, crop, make_selection(chosen, made))


def invert_stages(
    device: str,
    *,
    model: str,
    dtype: Dtype,
    backend: str,
    detector: str | None,
    noise: NoiseName,
    batch_size: int,
    save: frozenset[str],
    colour: float,
    chosen: Chosen,
    output_format: OutputFormat = AS_SOURCE,
    refine: int | None = None,
) -> InvertStages:
    """Builds the stages of `oodinv invert`, like `align_stages`.

    detector: None if the inputs are crops. refine: steps of refinement; None for the card's.
    """
    place = choose_device(device)
    made = None if detector is None else make_detector(detector, place)
    loaded = run_by(load_named(model).to(place), choose_backend(backend, place, dtype), noise)
    return InvertStages(
        model=loaded,
        device=place,
        dtype=dtype,
        detector=made,
        noise=noise,
        batch_size=batch_size,
        save=save,
        colour=colour,
        selection=ALL if made is None else make_selection(chosen, made),
        output_format=output_format,
        refiner=refiner_for(loaded, refine),
    )


def edit_stages(
    device: str,
    *,
    model: str | Model,
    recipe: EditRecipe,
    path: Path,
    factors: list[float],
    force: bool,
    dtype: Dtype,
    backend: str,
    batch_size: int,
    inversion: Results,
    knows_people: bool = True,
    output_format: OutputFormat = AS_SOURCE,
) -> EditStages:
    """Builds the stages of `oodinv edit`, like `align_stages`.

    model: a loaded model, or its name. path: the recipe's path. knows_people: false before the inversion exists.

    Raises:
        RecipeError: the recipe doesn't fit the model, or a strength is out of range.
    """
    place = choose_device(device)
    loaded = load_named(model) if isinstance(model, str) else model
    loaded = loaded.to(place)
    person = partial(read_person, inversion, loaded.code_shape) if knows_people else no_person
    plan = prepare(recipe, path, loaded, factors, person, force=force)
    noise: Literal["zero", "fixed"] = "zero" if inversion.header.settings.get("noise") == "zero" else "fixed"
    loaded = run_by(loaded, choose_backend(backend, place, dtype), noise)
    tuner = tuner_for(loaded, recipe.tune)
    return EditStages(Editor(loaded, place, dtype, noise, batch_size, recipe, plan, tuner), inversion, output_format)


def plan_workers(compute: AlignComputeOptions, shard: Shard | None) -> Workers | None:
    """Plans the Ray workers for `--engine` and `--workers`; None if this process computes.

    Raises:
        typer.BadParameter: `--workers` without Ray, or Ray with a shard.
        OodinvError: Ray is not available, or has too few resources for that many workers.
    """
    if compute.engine == "local":
        if compute.workers is not None:
            raise typer.BadParameter("needs --engine ray; leave it out", param_hint="--workers")
        return None
    if shard is not None:
        raise typer.BadParameter(
            "Ray distributes the photos itself; leave out --shard and torchrun", param_hint="--engine"
        )
    return start(compute.workers, compute.device)


def engine_for(stages: S, make_stages: Callable[[str], S], device: str, workers: Workers | None) -> Engine:
    """Returns the engine that runs `stages` in this process, or, with workers, those of `make_stages` on a cluster."""
    if workers is None:
        return local(stages)
    return Cluster(partial(make_stages, device), workers)


def choose_engine(
    make_stages: Callable[[str], S], compute: AlignComputeOptions, shard: Shard | None
) -> tuple[S, Engine]:
    """Returns stages for this process, used for the run's header, and the engine that the options select.

    Raises:
        typer.BadParameter, OodinvError: see `plan_workers`.
    """
    planned = plan_workers(compute, shard)
    stages = make_stages(compute.device if planned is None else "cpu")
    return stages, engine_for(stages, make_stages, compute.device, planned)
