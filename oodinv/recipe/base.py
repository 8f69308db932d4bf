"""Reading of YAML files into validated records, and the folders of shipped ones.

Unknown keys, wrong types and inconsistent values raise `RecipeError` with the file's name and the key.
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
Finite = Annotated[float, Field(allow_inf_nan=False)]


_REASONS = {"extra_forbidden": "is not a known key; check its spelling", "missing": "is missing"}


def _explain(error: pydantic.ValidationError) -> str:
    """Formats an error as one line per fault: its key and the reason, in words for authors of recipes."""
    lines = []
    for fault in error.errors():
        place = ".".join(map(str, fault["loc"])) or "(whole file)"
        said = fault["msg"].removeprefix("Input ").removeprefix("Value error, ")
        lines.append(f"  {place}: {_REASONS.get(fault['type'], said)}")
    return "\n".join(lines)


def parse_yaml(text: str, form: Any, source: str) -> Any:
    """Parses YAML text and validates it against a pydantic model or a union of models; `source` names it in errors.

    Raises:
        RecipeError: it is not YAML, not a mapping, or invalid.
    """
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{source} is not a mapping of keys to values; see the shipped recipes for examples")
    try:
        return pydantic.TypeAdapter(form).validate_python(data)
    except pydantic.ValidationError as error:
        raise RecipeError(f"{source} is invalid:\n{_explain(error)}") from error


def read_yaml(path: Path, form: Any) -> Any:
    """Reads and validates a YAML file.

    Raises:
        RecipeError: the file can't be read or is invalid.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"can't read {path}: {error}") from error
    return parse_yaml(text, form, str(path))


def data_folder(name: Literal["recipes", "pretrained", "samples"]) -> Path:
    """Folder of shipped recipes, models or photos: beside the package in a checkout, inside an installed package."""
    package = Path(str(importlib.resources.files("oodinv")))
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name


RecipeKind = Literal["train", "edit", "benchmark", "directions"]


def recipe_path(kind: RecipeKind, recipe: str) -> Path:
    """Path of a recipe, which may not exist: FILE.yaml itself, or that of the shipped recipe with this name."""
    return Path(recipe) if recipe.endswith((".yaml", ".yml")) else data_folder("recipes") / kind / f"{recipe}.yaml"


def recipe_names(kind: RecipeKind) -> list[str]:
    """Names of the shipped recipes of a kind."""
    return sorted(path.stem for path in (data_folder("recipes") / kind).glob("*.yaml"))
