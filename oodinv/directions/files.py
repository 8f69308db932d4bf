"""Directions of latent space, and their files.

A file is a .safetensors with one tensor, `vector` float32 (num_ws, w_dim), and in its metadata `format` =
"oodinv-direction" and `direction`, the record as JSON.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import pydantic
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from oodinv.errors import RecipeError, WeightsError
from oodinv.imaging.files import atomic_write
from oodinv.recipe.base import Name, data_folder
from oodinv.weights.reading.read import read as read_weights

FORMAT = "oodinv-direction"
SUFFIX = ".safetensors"
MAX_STRENGTH = 1e6
"""Largest strength that a safe range may contain."""

Strength = Annotated[float, Field(ge=-MAX_STRENGTH, le=MAX_STRENGTH)]


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction: vector float32 (num_ws, w_dim) that strength 1 adds to w_plus, for the model of this card name.

    unit: the meaning of strength 1, as text; for fitted directions, one standard deviation of the attribute over the
    training faces (`calibrate.calibrate`). layers: the rows of w_plus that it changes; None for all. safe_range:
    strengths (low, high) that stay within the distribution of the faces it was fitted to; None if unknown. method: how
    the direction was determined, as text.
    """

    name: str
    model: str
    vector: Tensor
    layers: tuple[int, ...] | None = None
    unit: str = ""
    safe_range: tuple[float, float] | None = None
    attribute: str = ""
    description: str = ""
    method: str = ""

    def delta(self, strength: float) -> Tensor:
        """The vector times a strength, float32 (num_ws, w_dim), zero outside its layers."""
        delta = self.vector * strength
        if self.layers is None:
            return delta
        chosen = torch.zeros_like(delta)
        rows = list(self.layers)
        chosen[rows] = delta[rows]
        return chosen

    def outside(self, strength: float) -> bool:
        """Returns True for a strength outside the safe range; False if the range is unknown."""
        return self.safe_range is not None and not self.safe_range[0] <= strength <= self.safe_range[1]


def scaled(direction: Direction, factor: float) -> Direction:
    """Makes strength 1 what `factor` was, which is not 0; the safe range spans the same codes."""
    bounds = direction.safe_range
    low, high = (None, None) if bounds is None else sorted(round(bound / factor, 2) for bound in bounds)
    return replace(
        direction,
        vector=direction.vector * factor,
        unit=f"{factor:g} times ({direction.unit})",
        safe_range=None if low is None or high is None else (low, high),
    )


class _Record(BaseModel):
    """Metadata of a direction in its file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    model: Name
    layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    unit: str = ""
    safe_range: tuple[Strength, Strength] | None = None
    attribute: str = ""
    description: str = ""
    method: str = ""


# Files


def write(path: Path, direction: Direction) -> None:
    """Writes a direction; the same direction gives the same bytes.

    Raises:
        RecipeError: its name, layers or range are invalid. OutputError: the file can't be written.
    """
    fields: dict[str, Any] = {key: getattr(direction, key) for key in _Record.model_fields}
    record = _check(direction.vector, fields, path)
    data = safetensors.torch.save(
        {"vector": direction.vector.detach().to("cpu", torch.float32).contiguous()},
        {"format": FORMAT, "direction": record.model_dump_json(exclude_none=True)},
    )
    atomic_write(path, lambda file: file.write(data))


def is_own(path: Path) -> bool:
    """True if a file is one of the project's own direction files."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, 1 << 20)))
        return bool(header["__metadata__"]["format"] == FORMAT)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def read(path: Path) -> Direction:
    """Reads a direction file.

    Raises:
        MissingWeights: there is no such file. WeightsError: it is damaged or no direction file.
        RecipeError: its metadata is invalid.
    """
    file = read_weights(path)
    text = file.settings.get("direction")
    if file.settings.get("format") != FORMAT or not isinstance(text, str) or set(file.tensors) != {"vector"}:
        raise WeightsError(
            f"{path}: is not a direction file of oodinv; convert a foreign one with `oodinv directions import`"
        )
    vector = file.tensors["vector"]
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: its metadata is not JSON ({error}); fit or import the direction again") from error
    record = _check(vector, fields, path)
    return Direction(vector=vector.float(), **{key: getattr(record, key) for key in _Record.model_fields})


def _check(vector: Tensor, fields: Any, path: Path) -> _Record:
    """Validates metadata and vector (num_ws, w_dim); raises `RecipeError` if they are invalid or inconsistent."""
    try:
        record = _Record.model_validate(fields)
    except pydantic.ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'record'}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"{path}: the direction's metadata is invalid: {reasons}") from error
    if vector.ndim != 2 or not vector.is_floating_point():
        raise RecipeError(f"{path}: holds {vector.dtype} {tuple(vector.shape)}; expected float (num_ws, w_dim)")
    if not vector.isfinite().all():
        raise RecipeError(f"{path}: the direction has values that are not finite; fit or import it again")
    if record.layers is not None:
        bad = [layer for layer in record.layers if layer >= len(vector)]
        if bad or not record.layers or len(set(record.layers)) != len(record.layers):
            raise RecipeError(f"{path}: layers {record.layers} must be distinct and below {len(vector)}, at least one")
    if record.safe_range is not None and record.safe_range[0] >= record.safe_range[1]:
        raise RecipeError(f"{path}: the safe range must be (low, high), not {record.safe_range}")
    return record


# Where they are


def shipped(model: str) -> dict[str, Path]:
    """Files of the directions shipped for a model, by name."""
    folder = data_folder("pretrained") / "directions" / model
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}
