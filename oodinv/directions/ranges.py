"""Safe ranges of edit recipes, from those of their directions."""

from oodinv.directions.files import read, shipped
from oodinv.recipe.edit import EditRecipe


def strength_range(recipe: EditRecipe, model: str) -> tuple[float, float] | None:
    """Factors on a recipe's strengths that keep all its directions, shipped for the model, in their safe ranges.

    None if nothing has a strength, or if a direction is not shipped or its range is unknown.
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
    if not ranges:
        return None
    return round(max(low for low, _ in ranges), 2), round(min(high for _, high in ranges), 2)
