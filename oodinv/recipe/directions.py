"""Recipes for fitting directions: sources of faces and labels, and the directions to fit."""

from collections.abc import Collection, Mapping
from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field, PositiveInt, model_validator

from oodinv.errors import RecipeError
from oodinv.recipe.base import Name, read_yaml, recipe_names, recipe_path
from oodinv.recipe.edit import Layers
from oodinv.records import Strict

Range = tuple[float, float]


class Source(Strict):
    """A folder of faces and its labels, beside the measures that every face has.

    labels: a CSV file, in a recipe as seen from the recipe's folder. names: what the parts of file names are, as in
    age_sex_ethnicity. categories: labels whose numbers are only names. limit: how many photos are used at most.
    """

    labels: str | None = None
    names: str | None = None
    categories: tuple[str, ...] = ()
    limit: PositiveInt | None = None


class Wanted(Strict):
    """A direction to fit: its attribute is a label or measure, and so are the conditions that it must not move.

    told_NAME as a condition is what an earlier direction of the recipe, NAME, tells of the faces by their codes.

    within: labels with the range (low, high) outside of which faces are left out. layers: rows that it may change.
    regression: for the score; without it logistic for labels with two values, linear for others.
    """

    name: Name
    source: str
    attribute: str
    conditions: tuple[str, ...] = ()
    within: dict[str, Range] = Field(default_factory=dict)
    layers: Layers | None = None
    regression: Literal["linear", "logistic"] | None = None
    description: str = ""

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.attribute in self.conditions:
            raise ValueError(f"{self.attribute} can't be both the attribute and a condition")
        return self

    def looks_at(self, labels: Collection[str]) -> bool:
        """Whether it uses any of these labels."""
        return any(name in labels for name in (self.attribute, *self.conditions, *self.within))


class FitRecipe(Strict):
    """Directions to fit for a model, from faces of one or more sources whose folders the user gives."""

    kind: Literal["directions"]
    model: str
    sources: Annotated[dict[Name, Source], Field(min_length=1)]
    directions: Annotated[list[Wanted], Field(min_length=1)]

    @model_validator(mode="after")
    def _sources_and_names(self) -> Self:
        if unknown := {wanted.source for wanted in self.directions} - set(self.sources):
            raise ValueError(f"sources has no {min(unknown)}")
        names = [wanted.name for wanted in self.directions]
        if len(set(names)) < len(names):
            raise ValueError(f"directions must have names of their own, not {names}")
        return self


def plan_of(model: str, source: Mapping[str, object], wanted: Mapping[str, object]) -> FitRecipe:
    """A recipe for one direction from one source, called `faces`.

    Raises:
        RecipeError: what is asked for contradicts itself.
    """
    plan = {"kind": "directions", "model": model, "sources": {"faces": source}, "directions": [wanted]}
    try:
        return FitRecipe.model_validate(plan)
    except pydantic.ValidationError as error:
        reasons = "; ".join(f"{e['loc'][-1] if e['loc'] else 'options'}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"this direction can't be fitted: {reasons}") from error


def find_fit_recipe(recipe: str) -> FitRecipe:
    """A recipe by the name of a shipped one or as FILE.yaml, with the paths of its labels as seen from here.

    Raises:
        RecipeError: there is no such recipe, or it doesn't validate.
    """
    path = recipe_path("directions", recipe)
    if not path.is_file():
        names = ", ".join(recipe_names("directions")) or "none"
        raise RecipeError(f"there is no recipe for directions {path}; pass a FILE.yaml, or one of {names}")
    settings: FitRecipe = read_yaml(path, FitRecipe)
    sources = {
        name: source.model_copy(update={"labels": None if source.labels is None else str(path.parent / source.labels)})
        for name, source in settings.sources.items()
    }
    return settings.model_copy(update={"sources": sources})
