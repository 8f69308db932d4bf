"""Safe ranges of edit recipes, from those of their directions."""

import math

from oodinv.directions.files import read, shipped
from oodinv.recipe.edit import EditRecipe

ROUNDING = 1e-6
"""Of sums in floating point, in hundredths."""


def strength_range(recipe: EditRecipe, model: str) -> tuple[float, float] | None:
    """Factors on a recipe's strengths that keep all its directions, shipped for the model, in their safe ranges.

    A dye stays between 0 and 1. Rounded inwards to two decimals. None if nothing has a strength, or if a direction is
    not shipped or its range is unknown.
    """
    files, ranges = shipped(model), list[tuple[float, float]]()
    for step in recipe.edits:
        for strength in step.strengths or ([] if step.strength is None else [step.strength]):
            bounds = read(files[step.direction]).safe_range if step.direction in files else None
            if bounds is None:
                return None
            if strength:
                low, high = sorted(bound / strength for bound in bounds)
                ranges.append((low, high))
    if recipe.dye is not None:
        ranges.append((0.0, 1 / recipe.dye.amount))
    if not ranges:
        return None
    low, high = max(low for low, _ in ranges), min(high for _, high in ranges)
    return math.ceil(low * 100 - ROUNDING) / 100, math.floor(high * 100 + ROUNDING) / 100
