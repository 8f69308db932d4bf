"""Recipes for fitting directions: sources of faces and labels, and the directions to fit."""

from collections.abc import Collection, Mapping
from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field, PositiveInt, model_validator

from oodinv.errors import RecipeError
from oodinv.recipe.base import Finite, Name, read_yaml, recipe_names, recipe_path
from oodinv.recipe.edit import Layers
from oodinv.records import Strict

Range = tuple[float, float]

PUBLISHED = "published"
"""Name of the folder of published directions, beside those of the sources."""


class FaceSource(Strict):
    """A folder of faces and its labels, in addition to the measures of every face.

    labels: a CSV file; in a recipe, relative to the recipe's folder. names: names of the parts of file names, such as
    age_sex_ethnicity. categories: labels whose numbers are categories. limit: largest number of photos to use.
    """

    labels: str | None = None
    names: str | None = None
    categories: tuple[str, ...] = ()
    limit: PositiveInt | None = None


class DirectionSpec(Strict):
    """A direction to fit, or to take from a file of another project.

    attribute, conditions: names of labels or measures; conditions are held constant. The condition predicted_NAME is
    the score of an earlier direction NAME of the recipe. within: range (low, high) by label, outside of which faces are
    excluded. layers: rows of w_plus that the direction may change. regression: of the score; by default logistic for
    labels with two values, linear for others. scale: strength 1 is this many of the fit's units, or this multiple of
    the file's vector. safe_range: strengths between which faces stay intact; by default that of the faces. score_only:
    the fit is not written, but serves later ones as a condition.

    published: a file in the folder of published directions that the user gives; its vector is the direction, and `unit`
    says in words what strength 1 does. component: of a GANSpace file. average: use the mean of the file's rows for all.

    without: earlier directions of the recipe that are projected out; published ones come after all fits.
    """

    name: Name
    source: str | None = None
    attribute: str
    conditions: tuple[str, ...] = ()
    within: dict[str, Range] = Field(default_factory=dict)
    layers: Layers | None = None
    regression: Literal["linear", "logistic"] | None = None
    published: str | None = None
    component: Annotated[int, Field(ge=0)] | None = None
    average: bool = False
    without: tuple[Name, ...] = ()
    scale: Finite = 1.0
    unit: str = ""
    safe_range: Range | None = None
    score_only: bool = False
    description: str = ""

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.attribute in self.conditions:
            raise ValueError(f"{self.attribute} can't be both the attribute and a condition")
        if self.published is None and (self.component is not None or self.unit or self.average):
            raise ValueError("component, average and unit are for published directions; a fit measures its unit")
        if self.published is not None and not self.unit:
            raise ValueError("a published direction needs a unit, which says what strength 1 does")
        if self.published is not None and (
            self.source or self.conditions or self.within or self.regression or self.score_only
        ):
            raise ValueError("a published direction is not fitted: source, conditions and the like have no meaning")
        if self.published is None and self.source is None:
            raise ValueError("a fit needs a source")
        if self.scale == 0:
            raise ValueError("scale must not be 0")
        return self

    def uses_any(self, labels: Collection[str]) -> bool:
        """True if the direction uses any of these labels."""
        return any(name in labels for name in (self.attribute, *self.conditions, *self.within))


class FitRecipe(Strict):
    """Directions for a model, fitted to faces of sources or taken from files; the user gives their folders."""

    kind: Literal["directions"]
    model: str
    sources: dict[Name, FaceSource] = Field(default_factory=dict)
    directions: Annotated[list[DirectionSpec], Field(min_length=1)]

    @model_validator(mode="after")
    def _sources_and_names(self) -> Self:
        if unknown := {w.source for w in self.directions if w.source is not None} - set(self.sources):
            raise ValueError(f"there is no source {min(unknown)}")
        names = [wanted.name for wanted in self.directions]
        if len(set(names)) < len(names):
            raise ValueError(f"directions must have distinct names, not {names}")
        order = [*(w for w in self.directions if w.published is None), *(w for w in self.directions if w.published)]
        for n, wanted in enumerate(order):
            if missing := set(wanted.without) - {w.name for w in order[:n] if not w.score_only}:
                raise ValueError(f"{wanted.name} is without {min(missing)}, which is not made before it")
        if PUBLISHED in self.sources:
            raise ValueError(f"{PUBLISHED} is the folder of published directions; give the source another name")
        return self

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders that the user gives: the sources, and `PUBLISHED` if a direction is of it."""
        needs_files = any(wanted.published is not None for wanted in self.directions)
        return (*self.sources, PUBLISHED) if needs_files else tuple(self.sources)


def single_direction_recipe(model: str, source: Mapping[str, object], wanted: Mapping[str, object]) -> FitRecipe:
    """Builds a recipe for one direction from one source, called `faces`.

    Raises:
        RecipeError: the options are inconsistent.
    """
    plan = {"kind": "directions", "model": model, "sources": {"faces": source}, "directions": [wanted]}
    try:
        return FitRecipe.model_validate(plan)
    except pydantic.ValidationError as error:
        reasons = "; ".join(f"{e['loc'][-1] if e['loc'] else 'options'}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"this direction can't be fitted: {reasons}") from error


def find_fit_recipe(recipe: str) -> FitRecipe:
    """Reads a recipe, by the name of a shipped one or as FILE.yaml, and resolves the paths of its labels.

    Raises:
        RecipeError: there is no such recipe, or it is invalid.
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
