"""Edit recipes: directions and strengths, mixing, interpolation and composition."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeInt, model_validator

from oodinv.compositing.composition import Composition
from oodinv.errors import RecipeError, suggestion
from oodinv.recipe.base import Finite, data_folder, read_yaml, recipe_names
from oodinv.records import Fraction, Strict

Strengths = Annotated[list[Finite], Field(min_length=1)]
Layers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


HAIR_COLOURS = {"black": "#1b1a1a", "brown": "#4a3326", "blond": "#ad8a67", "red": "#633e2b", "grey": "#868582"}
"""Mean colours of hair in daylight, set by eye."""


def _known_colour(colour: str) -> str:
    if colour not in HAIR_COLOURS and not re.fullmatch("#[0-9a-fA-F]{6}", colour):
        raise ValueError(f'is a colour such as "#868582", or one of {", ".join(HAIR_COLOURS)}, not {colour}')
    return colour


class EditStep(Strict):
    """One direction, by name or as a file, and its strength.

    strength: in the direction's unit. strengths: a sweep, with one result per value. target: the score to reach along
    the direction; 0 is the average face. layers: rows of w_plus to change, by default all of the direction's.
    """

    direction: str
    strength: Finite | None = None
    strengths: Strengths | None = None
    target: Finite | None = None
    layers: Layers | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        given = [self.strength is not None, self.strengths is not None, self.target is not None]
        if sum(given) != 1:
            raise ValueError("needs one of strength, strengths and target")
        return self


class Mix(Strict):
    """Rows of w_plus taken from another person: a name among the inputs' results, or a latents file (.npz)."""

    person: str
    layers: Layers


class Interpolation(Strict):
    """Interpolation to another person: amount 0 is the input, 1 the other; amounts: one result per value."""

    person: str
    amount: Finite | None = None
    amounts: Strengths | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.amount is None) == (self.amounts is None):
            raise ValueError("needs either amount or amounts")
        return self


class HairDye(Strict):
    """Dye of the hair: a colour by name or as "#rrggbb", and the share of it that is applied."""

    colour: Annotated[str, AfterValidator(_known_colour)]
    amount: Annotated[float, Field(gt=0, le=1)] = 1.0

    @property
    def levels(self) -> tuple[int, int, int]:
        """The colour's levels of red, green and blue."""
        digits = HAIR_COLOURS.get(self.colour, self.colour).removeprefix("#")
        red, green, blue = bytes.fromhex(digits)
        return red, green, blue


class EditRecipe(Strict):
    """Edit of faces. Paths are relative to the current folder, those of direction files to the recipe's.

    mask: the pass that gives flow and mask, the unedited inversion or the edited pass. refine: optimisation steps of
    photos that are inverted first; tune: those of the generator for each face, see `fitting.tuning`. By default both
    are the card's numbers.
    """

    description: str = ""
    model: str | None = None
    inputs: list[str] = Field(default_factory=list)
    output: str | None = None
    edits: list[EditStep] = Field(default_factory=list)
    truncation: Fraction = 1.0
    mix: Mix | None = None
    interpolate: Interpolation | None = None
    dye: HairDye | None = None
    mask: Literal["unedited", "edited"] = "unedited"
    refine: NonNegativeInt | None = None
    tune: NonNegativeInt | None = None
    compose: Composition = Composition()

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        changes = (self.edits, self.mix, self.interpolate, self.dye)
        if not any(changes) and self.truncation == 1:
            raise ValueError("has no steps: give edits, dye, mix, interpolate or truncation")
        if self.sweeps > 1:
            raise ValueError("only one of the edits may have strengths, or interpolate amounts")
        return self

    @property
    def sweeps(self) -> int:
        """Number of sweeps in the recipe."""
        amounts = self.interpolate is not None and self.interpolate.amounts is not None
        return sum(step.strengths is not None for step in self.edits) + amounts


def find_edit_recipe(recipe: str) -> Path:
    """Finds an edit recipe: a file, else a shipped one; the suffix .yaml may be omitted.

    Raises:
        RecipeError: there is no such recipe; the message lists the shipped ones.
    """
    shipped = data_folder("recipes") / "edit"
    names = [recipe] if recipe.endswith((".yaml", ".yml")) else [f"{recipe}.yaml", recipe]
    places = [Path(name) for name in names]
    places += [shipped / name for name in names if Path(name).name == name]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        known = ", ".join(recipe_names("edit")) or "none"
        raise RecipeError(f"there is no edit recipe {recipe} here; pass a FILE.yaml, or one of {known}"
                          f"{suggestion(recipe, recipe_names('edit'))}")  # fmt: skip
    return found


def read_edit_recipe(path: Path) -> EditRecipe:
    """Reads an edit recipe.

    Raises:
        RecipeError: the file can't be read or is invalid.
    """
    recipe: EditRecipe = read_yaml(path, EditRecipe)
    return recipe
