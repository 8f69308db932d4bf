"""Stages of `oodinv edit` from its options. Imports torch: import only in command bodies."""

from functools import partial
from pathlib import Path

from oodinv.cli.edit_request import Request
from oodinv.cli.engine import edit_stages, invert_stages
from oodinv.cli.prepare import output_format
from oodinv.recipe.edit import EditRecipe
from oodinv.workflows.edit import EditStages
from oodinv.workflows.invert import InvertStages


def inverting(request: Request, recipe: EditRecipe, model: str, save: frozenset[str]) -> partial[InvertStages]:
    """Returns a function of a device that builds the stages for inverting photos before the edit.

    model: its name. save: results to write.
    """
    return partial(
        invert_stages,
        model=model,
        dtype=request.compute.dtype,
        backend=request.compute.backend,
        detector=None if request.aligned else request.select.detector,
        noise="fixed",
        batch_size=request.compute.chunk,
        save=save,
        colour=1.0,
        chosen=request.select.chosen,
        refine=recipe.refine,
    )


def editing(request: Request, recipe: EditRecipe, path: Path) -> partial[EditStages]:
    """Returns a function of a device, a model and an inversion that builds the stages of the edit.

    path: the recipe's path.
    """
    return partial(
        edit_stages,
        recipe=recipe,
        path=path,
        factors=request.factors,
        force=request.force,
        dtype=request.compute.dtype,
        backend=request.compute.backend,
        batch_size=request.compute.chunk,
        output_format=output_format(request.files.format, request.files.quality),
    )
