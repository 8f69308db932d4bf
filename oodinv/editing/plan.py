"""From a recipe to plans: directions and persons looked up, sweeps spelled out, all checked against the model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oodinv import directions
from oodinv.editing.latent import Plan, Target, apply
from oodinv.errors import RecipeError
from oodinv.recipe.edit import EditRecipe, EditStep
from oodinv.weights.build import Model

FindPerson = Callable[[str], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Variant:
    """One result for each face: what follows the face's name in the output, and what becomes of its code."""

    suffix: str
    plan: Plan


@dataclass(frozen=True, eq=False)
class Edits:
    """A recipe made concrete for a model: its variants, its summary in words, and warnings.

    ranges: in words, how far each direction that has a strength may be followed.
    """

    variants: list[Variant]
    summary: str
    warnings: tuple[str, ...]
    ranges: tuple[str, ...] = ()


def nobody(person: str) -> NDArray[np.float32]:
    """Knows no person, where no inversion is at hand."""
    raise RecipeError(f"there is no person {person}: no inversion is at hand")


def prepare(recipe: EditRecipe, path: Path, model: Model, factors: list[float], person: FindPerson = nobody,
            *, force: bool = False) -> Edits:  # fmt: skip
    """Looks up directions and persons. `factors` multiply every strength; several give a sweep.

    person: gives the w_plus (num_ws, w_dim) of another person by name. force: only warn of strengths outside of the
    range in which faces stay faces.

    Raises:
        RecipeError: a direction or person isn't there or doesn't fit, there are two sweeps, or a strength is out of
            range.
    """
    if len(factors) > 1 and recipe.sweeps:
        raise RecipeError(f"{path} is a sweep already; give one --strength, which multiplies all of its strengths")
    if factors != [1.0] and all(step.target is not None for step in recipe.edits):
        raise RecipeError(f"{path} has no strengths for --strength to multiply")
    found = [directions.find(s.direction, model.card, *model.code_shape, path.parent) for s in recipe.edits]
    towards = None if recipe.interpolate is None else torch.from_numpy(person(recipe.interpolate.person))
    mixed = None if recipe.mix is None else torch.from_numpy(person(recipe.mix.person))
    variants, warnings = [], list[str]()
    for suffix, factor, turn in _sweep(recipe, factors):
        steps = list(zip(recipe.edits, found, strict=True))
        amount = 0.0 if recipe.interpolate is None else _amount(recipe, turn)
        plan = Plan(
            truncation=recipe.truncation,
            towards=towards,
            amount=amount,
            mixed=mixed,
            layers=() if recipe.mix is None else _checked(recipe.mix.layers, model, path),
            deltas=[
                _on_layers(d.delta(_strength(s, factor, turn)), s, model, path) for s, d in steps if s.target is None
            ],
            targets=[
                Target(_on_layers(d.delta(1.0), s, model, path), s.target) for s, d in steps if s.target is not None
            ],
        )
        _check_targets(plan, model, path)
        variants.append(Variant(suffix, plan))
        warnings += [_warning(s, d, factor, turn) for s, d in steps if _is_outside(d, s, factor, turn)]
    if warnings and not force:
        raise RecipeError(f"{warnings[0]}; choose a --strength within it, or add --force")
    ranges = (_range(s, d) for s, d in zip(recipe.edits, found, strict=True) if s.target is None)
    return Edits(variants, summary(recipe, path, factors), tuple(dict.fromkeys(warnings)), tuple(dict.fromkeys(ranges)))


def _sweep(recipe: EditRecipe, factors: list[float]) -> Iterator[tuple[str, float, int]]:
    """(suffix, factor, position in the recipe's sweep) of each variant."""
    if len(factors) > 1:
        yield from ((f"@{factor:+g}", factor, 0) for factor in factors)
        return
    (factor,) = factors
    swept = next((step.strengths for step in recipe.edits if step.strengths is not None), None)
    if swept is not None:
        yield from ((f"@{factor * strength:+g}", factor, turn) for turn, strength in enumerate(swept))
    elif recipe.interpolate is not None and recipe.interpolate.amounts is not None:
        yield from ((f"@{amount:g}", factor, turn) for turn, amount in enumerate(recipe.interpolate.amounts))
    else:
        yield "", factor, 0


def _strength(step: EditStep, factor: float, turn: int) -> float:
    chosen = step.strength if step.strengths is None else step.strengths[turn]
    return factor * (chosen or 0.0)


def _amount(recipe: EditRecipe, turn: int) -> float:
    assert recipe.interpolate is not None
    amounts = recipe.interpolate.amounts
    return (recipe.interpolate.amount or 0.0) if amounts is None else amounts[turn]


LIMIT = 100.0
"""Largest strength of a direction whose range isn't known: published ones are followed by up to some 50."""


def _bounds(direction: directions.Direction) -> tuple[float, float]:
    return direction.safe_range or (-LIMIT, LIMIT)


def _is_outside(direction: directions.Direction, step: EditStep, factor: float, turn: int) -> bool:
    low, high = _bounds(direction)
    return step.target is None and not low <= _strength(step, factor, turn) <= high


def _range(step: EditStep, direction: directions.Direction) -> str:
    low, high = _bounds(direction)
    return f"{step.direction}: {low:g} to {high:g}" + ("" if direction.safe_range else " (no range is known)")


def _warning(step: EditStep, direction: directions.Direction, factor: float, turn: int) -> str:
    low, high = _bounds(direction)
    return (
        f"{step.direction} at {_strength(step, factor, turn):+g} leaves the range in which faces stay faces, "
        f"{low:g} to {high:g}"
    )


def _checked(layers: list[int], model: Model, path: Path) -> tuple[int, ...]:
    if max(layers) >= model.generator.num_ws:
        raise RecipeError(f"{path} names layer {max(layers)}; {model.card.name} has 0 to {model.generator.num_ws - 1}")
    return tuple(sorted(set(layers)))


def _on_layers(delta: Tensor, step: EditStep, model: Model, path: Path) -> Tensor:
    """The delta (num_ws, w_dim) with the rows of other layers set to zero."""
    if step.layers is None:
        return delta
    rows = list(_checked(step.layers, model, path))
    kept = torch.zeros_like(delta)
    kept[rows] = delta[rows]
    return kept


def _check_targets(plan: Plan, model: Model, path: Path) -> None:
    for target in plan.targets:
        if not target.unit.any():
            raise RecipeError(f"{path}: a direction with a target changes none of its layers; name others")
    try:
        apply(plan, torch.zeros(1, *model.code_shape), torch.zeros(model.code_shape))
    except ValueError as error:
        raise RecipeError(f"{path}: {error}; leave one of them out") from error


def summary(recipe: EditRecipe, path: Path, factors: list[float]) -> str:
    """The recipe in words, for pictures' metadata: its name and what it asks for."""
    parts = []
    for step in recipe.edits:
        if step.target is not None:
            parts.append(f"{step.direction} to {step.target:g}")
        else:
            chosen = step.strengths or [step.strength or 0.0]
            parts.append(f"{step.direction} {', '.join(f'{f * c:+g}' for f in factors for c in chosen)}")
    if recipe.truncation != 1:
        parts.append(f"truncation {recipe.truncation:g}")
    if recipe.interpolate is not None:
        parts.append(f"interpolated towards {Path(recipe.interpolate.person).stem}")
    if recipe.mix is not None:
        parts.append(f"mixed with {Path(recipe.mix.person).stem}")
    return f"{path.stem}: {'; '.join(parts)}"
