"""Reads directions and codes of other projects, in all published formats.

| form | imported as |
|---|---|
| (w_dim,), (1, w_dim), … | the same vector on every row: InterFaceGAN's boundaries, encoder4editing's directions |
| (num_ws, w_dim), (1, num_ws, w_dim), (num_ws, 1, w_dim) | a vector for each row |
| (num_ws · w_dim,), (1, num_ws · w_dim) | a vector for each row: StyleFeatureEditor's |
| list, or dict by numbers such as 4 or layer_4, of (w_dim,) or (1, w_dim) | vectors for these rows, zero for others |
| dict by other keys, of any of the above | one direction for each key |
| dict of comp, mean, std; of act_comp, act_stdev; of lat_comp, lat_stdev (GANSpace) | component · sigma |
| (N, num_ws, w_dim), N > 1 | codes of N people, not a direction: see `codes.read_codes` |

Files are .npy, .npz, .pt, .pkl or .safetensors, of any floating-point type; no pickled code is executed. Signs are
unchanged.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oodinv.directions.contents import describe, only_tensor, read_contents
from oodinv.directions.files import Direction, is_own, read
from oodinv.errors import MissingWeights, UnknownLayout, WeightsError
from oodinv.models import generators
from oodinv.recipe.card import ModelCard
from oodinv.weights.build import locate
from oodinv.weights.families import build_generator
from oodinv.weights.reading.read import read as read_weights
from oodinv.weights.translation import translate

GANSPACE_KEYS = (("lat_comp", "lat_stdev"), ("comp", "std"), ("act_comp", "act_stdev"))
"""Keys of components and their standard deviations; those of latents take precedence over activations."""

PUBLISHED_W_DIM = 512
NORMAL_99 = 2.326
"""98 % of a normal distribution is within this many standard deviations."""


@dataclass(frozen=True)
class ModelShape:
    """Model of a direction: the name of its card, and the shape of its w_plus.

    spare_rows: number of rows beyond `num_ws` that a direction may have and that are dropped; see
    `Generator.spare_rows`.
    """

    model: str
    num_ws: int
    w_dim: int
    spare_rows: int = 0


def model_shape(card: ModelCard, path: Path) -> ModelShape:
    """Returns the model of a card read from `path`; if its generator is missing, w_dim is 512, as in published ones.

    Raises:
        WeightsError: the generator's file is damaged or unknown.
    """
    family = generators.named(card.generator.kind)
    try:
        file = locate(card.generator.weights, path)
    except MissingWeights:
        return ModelShape(card.name, family.rows_at(card.size), PUBLISHED_W_DIM, family.spare_rows)
    generator = build_generator(translate(read_weights(file)), card.generator)
    return ModelShape(card.name, generator.num_ws, generator.w_dim, family.spare_rows)


def import_one(path: Path, target: ModelShape) -> Direction:
    """Reads the one direction of a foreign file.

    Raises:
        WeightsError: as `import_file`, or the file holds several.
    """
    found = import_file(path, target)
    if len(found) > 1:
        raise UnknownLayout(
            f"{path}: holds {len(found)} directions, where one was expected; write them as files of their own with "
            f"`oodinv directions import {path} --model {target.model} -o FOLDER` and name one of those"
        )
    return found[0]


def import_file(path: Path, target: ModelShape, components: Sequence[int] | None = None) -> list[Direction]:
    """Reads the directions of a file in any form that this module lists.

    components: indices of a GANSpace file's components; by default all.

    Raises:
        MissingWeights: there is no such file.
        WeightsError: it is damaged, would execute code, is for another model, or is not a direction.
    """
    if is_own(path):
        return [_relabelled(read(path), target, path)]
    values = read_contents(path)
    try:
        found = _ganspace(values, path, target, components)
        if found is None:
            if components is not None:
                raise UnknownLayout("has no components to choose from; it is not a GANSpace file")
            found = _directions(values, path, target)
        return [_checked(direction) for direction in found]
    except WeightsError as error:
        raise type(error)(f"{path}: {error}") from error


def _relabelled(direction: Direction, target: ModelShape, path: Path) -> Direction:
    if direction.vector.shape[0] == target.num_ws + target.spare_rows:
        rows = None if direction.layers is None else tuple(n for n in direction.layers if n < target.num_ws)
        direction = replace(direction, vector=direction.vector[: target.num_ws], layers=rows)
    if tuple(direction.vector.shape) != (target.num_ws, target.w_dim):
        raise UnknownLayout(
            f"{path}: has shape {tuple(direction.vector.shape)}; {target.model} needs {(target.num_ws, target.w_dim)}"
        )
    return replace(direction, model=target.model)


def _checked(direction: Direction) -> Direction:
    if not direction.vector.isfinite().all():
        raise WeightsError(f"{direction.name} has values that are not finite; get the file again")
    if not direction.vector.any():
        raise WeightsError(f"{direction.name} is zero everywhere")
    return direction


def _ganspace(values: Any, path: Path, target: ModelShape, components: Sequence[int] | None) -> list[Direction] | None:
    """Components · sigma of a GANSpace dictionary; None if it is something else."""
    keys = next((k for k in GANSPACE_KEYS if isinstance(values, dict) and set(k) <= set(values)), None)
    if keys is None:
        return None
    vectors, sigmas = (values[key] for key in keys)
    if not isinstance(vectors, Tensor) or not isinstance(sigmas, Tensor) or vectors.ndim < 2:
        raise UnknownLayout(f"{keys[0]} and {keys[1]} must be tensors (N, 1, w_dim) and (N,)")
    sigmas = sigmas.reshape(-1)
    if len(sigmas) != len(vectors):
        raise UnknownLayout(f"has {len(vectors)} components and {len(sigmas)} standard deviations")
    chosen = range(len(vectors)) if components is None else components
    if bad := [index for index in chosen if not 0 <= index < len(vectors)]:
        raise UnknownLayout(f"has {len(vectors)} components, counted from 0; there is no {bad[0]}")
    return [
        Direction(
            name=f"{_name(path.stem)}-{index:02d}",
            model=target.model,
            vector=_rows(vectors[index], target) * float(sigmas[index]),
            unit="one standard deviation of the component",
            safe_range=(-NORMAL_99, NORMAL_99),
            attribute=f"component {index}",
            method=f"GANSpace component {index} of {path.name}, times its standard deviation",
        )
        for index in chosen
    ]


def _directions(values: Any, path: Path, target: ModelShape) -> list[Direction]:
    """One direction, one of single rows, or one for each key."""
    values = only_tensor(values)
    if isinstance(values, Tensor):
        return [_direction(_rows(values, target), path.stem, None, path, target)]
    items = dict(enumerate(values)) if isinstance(values, list) else values
    if not isinstance(items, dict) or not items:
        raise UnknownLayout(f"holds {describe(values)}; expected a direction")
    by_row = _by_row(items, target)
    if by_row is not None:
        vector = torch.zeros(target.num_ws, target.w_dim)
        for row, value in by_row.items():
            vector[row] = value
        layers = None if len(by_row) == target.num_ws else tuple(sorted(by_row))
        return [_direction(vector, path.stem, layers, path, target)]
    tensors = {str(key): value for key, value in items.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UnknownLayout(f"holds {describe(items)}; expected a direction")
    return [_direction(_rows(value, target, key), key, None, path, target) for key, value in tensors.items()]


def _by_row(items: dict[Any, Any], target: ModelShape) -> dict[int, Tensor] | None:
    """Vectors by row of w_plus if every key is a number or ends in one; None for other keys."""
    found: dict[int, Tensor] = {}
    for key, value in items.items():
        number = re.fullmatch(r"\D*(\d{1,4})", str(key))
        if number is None or not isinstance(value, Tensor) or value.numel() != target.w_dim:
            return None
        row = int(number[1])
        if target.num_ws <= row < target.num_ws + target.spare_rows:
            continue
        if row in found or row >= target.num_ws:
            raise UnknownLayout(f"has a boundary for layer {row}; {target.model} has layers 0 to {target.num_ws - 1}")
        found[row] = _floating(value).reshape(-1)
    return found


def _rows(value: Tensor, target: ModelShape, key: str = "") -> Tensor:
    """Reshapes a direction's tensor of any published shape to float32 (num_ws, w_dim)."""
    num_ws, w_dim = target.num_ws, target.w_dim
    shape = tuple(side for side in value.shape if side != 1)
    vector = _floating(value)
    if shape == (w_dim,):
        return vector.reshape(1, w_dim).repeat(num_ws, 1)
    whole = num_ws + target.spare_rows
    if shape in ((whole, w_dim), (whole * w_dim,)):
        return vector.reshape(whole, w_dim)[:num_ws]
    if shape in ((num_ws, w_dim), (num_ws * w_dim,)):
        return vector.reshape(num_ws, w_dim)
    where = f"{key}: " if key else ""
    if shape[-2:] == (num_ws, w_dim) and len(shape) == 3:
        raise UnknownLayout(
            f"{where}holds the latent codes of {shape[0]} people, not a direction; with --codes they become "
            "latents that edit recipes can mix with and interpolate to"
        )
    if len(shape) == 2 and shape[1] == w_dim:
        raise UnknownLayout(f"{where}holds {shape[0]} vectors; expected one, or one for each of {num_ws} layers")
    raise UnknownLayout(
        f"{where}has shape {tuple(value.shape)}; a direction of {target.model} has shape ({w_dim},), "
        f"({num_ws}, {w_dim}) or ({num_ws * w_dim},), so this is for another model, or not a direction"
    )


def _floating(value: Tensor) -> Tensor:
    if not value.is_floating_point():
        raise UnknownLayout(f"holds {value.dtype}; expected floating-point numbers")
    return value.float()


def _direction(vector: Tensor, name: str, layers: tuple[int, ...] | None, path: Path, target: ModelShape) -> Direction:
    return Direction(
        name=_name(name),
        model=target.model,
        vector=vector,
        layers=layers,
        unit=f"the length in {path.name}; not calibrated",
        attribute=_name(name),
        method=f"imported from {path.name}",
    )


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("._-") or "direction"
