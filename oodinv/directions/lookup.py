"""Finds a direction by name or path, and checks that it fits the model."""

from pathlib import Path

from oodinv.directions.files import SUFFIX, Direction, is_own, read, shipped
from oodinv.directions.foreign import ModelShape, import_one
from oodinv.errors import RecipeError, suggestion
from oodinv.models import generators
from oodinv.recipe.card import ModelCard


def find(name: str, card: ModelCard, num_ws: int, w_dim: int, beside: Path | None = None) -> Direction:
    """Finds a direction by name or path, and checks that it fits the model.

    name: a file, relative to the folder `beside` (a recipe's) or to the current one; or a name, looked for as
    NAME.safetensors in these folders and then among the shipped ones. Files of other projects are imported.

    Raises:
        RecipeError: there is none of this name, it is another model's, or of another shape.
        WeightsError: the file is damaged, or is refused.
    """
    path = _locate(name, card, beside)
    if not is_own(path):
        return import_one(path, ModelShape(card.name, num_ws, w_dim, generators.named(card.generator.kind).spare_rows))
    direction = read(path)
    if direction.model != card.name:
        raise RecipeError(
            f"{path}: the direction {direction.name} is of the model {direction.model}, not of {card.name}. If both "
            f"share one generator: `oodinv directions import {path} --model {card.name} -o NEW{SUFFIX}`"
        )
    if tuple(direction.vector.shape) != (num_ws, w_dim):
        raise RecipeError(
            f"{path}: the direction has shape {tuple(direction.vector.shape)}, the model {card.name} needs "
            f"{(num_ws, w_dim)}; it was made for other weights, fit it again"
        )
    return direction


def _locate(name: str, card: ModelCard, beside: Path | None) -> Path:
    folders = [Path()] if beside is None else [beside, Path()]
    ready = shipped(card.name)
    texts = (name,) if name.endswith(SUFFIX) else (name, name + SUFFIX)
    candidates = list(dict.fromkeys(folder / text for text in texts for folder in folders))
    found = next((path for path in candidates if path.is_file()), ready.get(name))
    if found is None:
        known = ", ".join(ready) or "none"
        raise RecipeError(
            f"there is no direction {name}: neither a file {' or '.join(str(path) for path in candidates)}, nor "
            f"shipped for {card.name} (there are: {known}). Make one with `oodinv directions fit` or `import`"
            f"{suggestion(name, ready)}"
        )
    return found
