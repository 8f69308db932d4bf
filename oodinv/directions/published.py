"""Directions that a recipe takes from files of other projects, and projections of one direction out of another."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from oodinv.directions.files import Direction
from oodinv.directions.foreign import ModelShape, import_file, import_one
from oodinv.errors import RecipeError
from oodinv.recipe.directions import DirectionSpec


def take(folder: Path, wanted: DirectionSpec, target: ModelShape, known: dict[str, Direction]) -> Direction:
    """Reads the published vector of a direction, limits it to its layers, and scales it.

    known: the recipe's earlier directions by name, of which those in `without` are projected out.

    Raises:
        WeightsError: the file is missing, damaged, or of another model.
        RecipeError: the model has no such layer, or nothing is left of the vector.
    """
    assert wanted.published is not None
    path = folder / wanted.published
    found = import_one(path, target) if wanted.component is None else import_file(path, target, [wanted.component])[0]
    vector = found.vector.double()
    notes = [found.method]
    if wanted.average:
        vector = vector.mean(dim=0, keepdim=True).repeat(len(vector), 1)
        notes.append("averaged over its rows")
    if wanted.layers is not None:
        if bad := [layer for layer in wanted.layers if layer >= len(vector)]:
            raise RecipeError(f"{wanted.name}: there is no layer {bad[0]}; the model has 0 to {len(vector) - 1}")
        others = [layer for layer in range(len(vector)) if layer not in wanted.layers]
        vector[others] = 0
    direction = replace(
        found,
        name=wanted.name,
        vector=(wanted.scale * vector).float(),
        layers=None if wanted.layers is None else tuple(wanted.layers),
        unit=wanted.unit,
        safe_range=wanted.safe_range,
        attribute=wanted.attribute,
        description=wanted.description,
        method=f"{', '.join(notes)}, times {wanted.scale:g}",
    )
    return without(direction, wanted, known)


def without(direction: Direction, wanted: DirectionSpec, known: dict[str, Direction]) -> Direction:
    """Projects the directions `wanted.without` out of a direction; known: directions by name.

    Raises:
        RecipeError: nothing is left of it.
    """
    if not wanted.without:
        return direction
    vector = direction.vector.double()
    rest = project_out(vector, [known[name].delta(1).double() for name in wanted.without])
    if not rest.norm() > 1e-6 * vector.norm():
        raise RecipeError(f"{wanted.name}: nothing is left of it without {', '.join(wanted.without)}")
    method = f"{direction.method}, without {', '.join(wanted.without)}"
    return replace(direction, vector=rest.float(), method=method)


def project_out(vector: Tensor, others: Sequence[Tensor]) -> Tensor:
    """The part of a vector (num_ws, w_dim) that is orthogonal to others of this shape, on the rows that it changes."""
    rows = vector.abs().amax(dim=1) > 0
    span = torch.stack([other[rows].flatten() for other in others], dim=1)
    flat = vector[rows].flatten()
    rest = torch.zeros_like(vector)
    rest[rows] = (flat - span @ (torch.linalg.pinv(span) @ flat)).reshape(-1, vector.shape[1])
    return rest
