"""Records that reject unknown keys, YAML files read into them, and where shipped ones lie.

Unknown keys, wrong types and contradictions raise `RecipeError` with the file's name and the key.
"""

import importlib.resources
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field

from oodinv.errors import RecipeError


def _check_power_of_two(size: int) -> int:
    if size < 8 or size & (size - 1):
        raise ValueError("must be a power of two of at least 8")
    return size


Size = Annotated[int, pydantic.AfterValidator(_check_power_of_two)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


_REASONS = {"extra_forbidden": "is no key here; check its spelling", "missing": "is missing"}


def _explain(error: pydantic.ValidationError) -> str:
    """A line for each fault: where it is and, in the words of people who write recipes, what it is."""
    lines = []
    for fault in error.errors():
        place = ".".join(map(str, fault["loc"])) or "(whole file)"
        said = fault["msg"].removeprefix("Input ").removeprefix("Value error, ")
        lines.append(f"  {place}: {_REASONS.get(fault['type'], said)}")
    return "\n".join(lines)


def parse_yaml(text: str, form: Any, source: str) -> Any:
    """Validates YAML text against a pydantic model or a union of models; `source` names it in errors.

    Raises:
        RecipeError: not YAML, not a mapping, or it doesn't validate.
    """
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{source} holds no mapping of keys to values; see the recipes that come with oodinv")
    try:
        return pydantic.TypeAdapter(form).validate_python(data)
    except pydantic.ValidationError as error:
        raise RecipeError(f"{source} does not say what it must:\n{_explain(error)}") from error


def read_yaml(path: Path, form: Any) -> Any:
    """Reads and validates a YAML file.

    Raises:
        RecipeError: the file can't be read or doesn't validate.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"can't read {path}: {error}") from error
    return parse_yaml(text, form, str(path))


def data_folder(name: Literal["recipes", "pretrained", "samples"]) -> Path:
    """Folder of shipped recipes, models or photos: beside the package in a checkout, inside it when installed."""
    package = Path(str(importlib.resources.files("oodinv")))
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name


RecipeKind = Literal["train", "edit", "benchmark", "directions"]


def recipe_path(kind: RecipeKind, recipe: str) -> Path:
    """Where a recipe would be: FILE.yaml is a path, any other text the name of a shipped one."""
    return Path(recipe) if recipe.endswith((".yaml", ".yml")) else data_folder("recipes") / kind / f"{recipe}.yaml"


def recipe_names(kind: RecipeKind) -> list[str]:
    """Names of the shipped recipes of a kind."""
    return sorted(path.stem for path in (data_folder("recipes") / kind).glob("*.yaml"))
