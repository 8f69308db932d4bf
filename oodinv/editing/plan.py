"""Edit plans: resolves a recipe's directions, persons and sweeps and checks them against the model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oodinv import directions
from oodinv.compositing.hair_dye import Dye
from oodinv.editing.latent import LatentEdit, ScoreTarget, apply_edit
from oodinv.errors import RecipeError
from oodinv.recipe.edit import EditRecipe, EditStep
from oodinv.weights.build import Model

FindPerson = Callable[[str], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class EditVariant:
    """One result per face: the suffix of its output names, the edit of its latent code, and the dye of its hair."""

    suffix: str
    edit: LatentEdit
    dye: Dye | None = None


@dataclass(frozen=True, eq=False)
class EditPlan:
    """A recipe resolved for a model: its variants, a summary for metadata, and warnings.

    ranges: the safe range of each direction that has a strength, as text.
    """

    variants: list[EditVariant]
    summary: str
    warnings: tuple[str, ...]
    ranges: tuple[str, ...] = ()


def no_person(person: str) -> NDArray[np.float32]:
    """Rejects every person; for edits without a folder of inversions."""
    raise RecipeError(f"there is no person {person}: this edit has no folder of inverted photos to take it from")


def prepare(recipe: EditRecipe, path: Path, model: Model, factors: list[float], person: FindPerson = no_person,
            *, force: bool = False) -> EditPlan:  # fmt: skip
    """Resolves a recipe for a model.

    path: the recipe's. factors: multiply every strength; several give a sweep. person: returns the w_plus
    (num_ws, w_dim) of a person by name. force: warn of strengths outside the safe range instead of raising.

    Raises:
        RecipeError: a direction or person is missing or has another shape, there are two sweeps, or a strength is
            outside the safe range.
    """
    if len(factors) > 1 and recipe.sweeps:
        raise RecipeError(f"{path} is already a sweep; give a single --strength, which multiplies all of its strengths")
    if factors != [1.0] and recipe.dye is None and all(step.target is not None for step in recipe.edits):
        raise RecipeError(f"{path} has no strengths for --strength to multiply")
    found = [directions.find(s.direction, model.card, *model.code_shape, path.parent) for s in recipe.edits]
    towards = None if recipe.interpolate is None else torch.from_numpy(person(recipe.interpolate.person))
    mixed = None if recipe.mix is None else torch.from_numpy(person(recipe.mix.person))
    variants, warnings = [], list[str]()
    for suffix, factor, index in _sweep(recipe, factors):
        steps = list(zip(recipe.edits, found, strict=True))
        amount = 0.0 if recipe.interpolate is None else _amount(recipe, index)
        edit = LatentEdit(
            truncation=recipe.truncation,
            towards=towards,
            amount=amount,
            mixed=mixed,
            layers=() if recipe.mix is None else _checked(recipe.mix.layers, model, path),
            deltas=[
                _on_layers(d.delta(_strength(s, factor, index)), s, model, path) for s, d in steps if s.target is None
            ],
            targets=[
                ScoreTarget(_on_layers(d.delta(1.0), s, model, path), s.target)
                for s, d in steps
                if s.target is not None
            ],
        )
        _check_targets(edit, model, path)
        dye = None if recipe.dye is None else Dye(recipe.dye.levels, factor * recipe.dye.amount)
        variants.append(EditVariant(suffix, edit, dye))
        warnings += [_warning(s, d, factor, index) for s, d in steps if _is_outside(d, s, factor, index)]
        if dye is not None and not 0 <= dye.amount <= 1:
            warnings.append(f"the dye's amount of {dye.amount:g} is not between 0 and 1")
    if warnings and not force:
        raise RecipeError(f"{warnings[0]}; choose a --strength within it, or pass --force")
    ranges = [_range(s, d) for s, d in zip(recipe.edits, found, strict=True) if s.target is None]
    if recipe.dye is not None:
        ranges.append("dye: 0 to 1")
    return EditPlan(
        variants, summary(recipe, path, factors), tuple(dict.fromkeys(warnings)), tuple(dict.fromkeys(ranges))
    )


def _sweep(recipe: EditRecipe, factors: list[float]) -> Iterator[tuple[str, float, int]]:
    """Suffix, factor and index in the recipe's sweep of each variant."""
    if len(factors) > 1:
        yield from ((f"@{factor:+g}", factor, 0) for factor in factors)
        return
    (factor,) = factors
    swept = next((step.strengths for step in recipe.edits if step.strengths is not None), None)
    if swept is not None:
        yield from ((f"@{factor * strength:+g}", factor, index) for index, strength in enumerate(swept))
    elif recipe.interpolate is not None and recipe.interpolate.amounts is not None:
        yield from ((f"@{amount:g}", factor, index) for index, amount in enumerate(recipe.interpolate.amounts))
    else:
        yield "", factor, 0


def _strength(step: EditStep, factor: float, index: int) -> float:
    chosen = step.strength if step.strengths is None else step.strengths[index]
    return factor * (chosen or 0.0)


def _amount(recipe: EditRecipe, index: int) -> float:
    assert recipe.interpolate is not None
    amounts = recipe.interpolate.amounts
    return (recipe.interpolate.amount or 0.0) if amounts is None else amounts[index]


LIMIT = 100.0
"""Largest strength of a direction without a safe range; published directions are used up to about 50."""


def _bounds(direction: directions.Direction) -> tuple[float, float]:
    return direction.safe_range or (-LIMIT, LIMIT)


def _is_outside(direction: directions.Direction, step: EditStep, factor: float, index: int) -> bool:
    low, high = _bounds(direction)
    return step.target is None and not low <= _strength(step, factor, index) <= high


def _range(step: EditStep, direction: directions.Direction) -> str:
    low, high = _bounds(direction)
    return f"{step.direction}: {low:g} to {high:g}" + ("" if direction.safe_range else " (no safe range is known)")


def _warning(step: EditStep, direction: directions.Direction, factor: float, index: int) -> str:
    low, high = _bounds(direction)
    return f"{step.direction} at {_strength(step, factor, index):+g} is outside its safe range, {low:g} to {high:g}"


def _checked(layers: list[int], model: Model, path: Path) -> tuple[int, ...]:
    if max(layers) >= model.generator.num_ws:
        raise RecipeError(f"{path} names layer {max(layers)}; {model.card.name} has 0 to {model.generator.num_ws - 1}")
    return tuple(sorted(set(layers)))


def _on_layers(delta: Tensor, step: EditStep, model: Model, path: Path) -> Tensor:
    """Sets the rows of a delta (num_ws, w_dim) outside the step's layers to 0."""
    if step.layers is None:
        return delta
    rows = list(_checked(step.layers, model, path))
    limited = torch.zeros_like(delta)
    limited[rows] = delta[rows]
    return limited


def _check_targets(edit: LatentEdit, model: Model, path: Path) -> None:
    for target in edit.targets:
        if not target.unit.any():
            raise RecipeError(f"{path}: a direction with a target is zero on its layers; choose others")
    try:
        apply_edit(edit, torch.zeros(1, *model.code_shape), torch.zeros(model.code_shape))
    except ValueError as error:
        raise RecipeError(f"{path}: {error}; remove one of them") from error


def summary(recipe: EditRecipe, path: Path, factors: list[float]) -> str:
    """Describes the recipe for pictures' metadata: its name and its steps."""
    parts = []
    for step in recipe.edits:
        if step.target is not None:
            parts.append(f"{step.direction} to {step.target:g}")
        else:
            chosen = step.strengths or [step.strength or 0.0]
            parts.append(f"{step.direction} {', '.join(f'{f * c:+g}' for f in factors for c in chosen)}")
    if recipe.dye is not None:
        parts.append(f"{recipe.dye.colour} dye {', '.join(f'{f * recipe.dye.amount:g}' for f in factors)}")
    if recipe.truncation != 1:
        parts.append(f"truncation {recipe.truncation:g}")
    if recipe.interpolate is not None:
        parts.append(f"interpolated towards {Path(recipe.interpolate.person).stem}")
    if recipe.mix is not None:
        parts.append(f"mixed with {Path(recipe.mix.person).stem}")
    return f"{path.stem}: {'; '.join(parts)}"
