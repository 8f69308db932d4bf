"""Says what a weight file is, without building anything from it."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from oodinv.errors import WeightsError
from oodinv.weights import catalog
from oodinv.weights.checksum import sha256_file
from oodinv.weights.layouts import recognise
from oodinv.weights.read import Container, WeightsFile, read


@dataclass(frozen=True)
class Report:
    """What a weight file is.

    `layout` is the name of a layout, or of the catalog's row for a file that `oodinv` uses as it is. `sizes`
    has what the tensors' shapes tell: image `size` in pixels, `num_ws` and `w_dim` of the latent codes.
    `parameters` counts the numbers in all tensors, those of buffers too. `row` is the catalog's row with the
    same sha256; without one, `namesake` is the row whose file has the same name.
    """

    path: Path
    container: Container
    layout: str
    sizes: dict[str, int]
    parameters: int
    sha256: str
    row: catalog.Row | None
    namesake: catalog.Row | None


def verify(path: Path) -> Report:
    """Report on the file. Raises as `read` does, and `UnknownLayout` if its contents fit no known layout."""
    file = read(path)
    sha256 = sha256_file(path)
    row = catalog.by_sha256(sha256)
    shapes = _shapes(file)
    return Report(
        path=path,
        container=file.container,
        layout=_layout(file, row),
        sizes=_sizes(file, shapes),
        parameters=sum(map(math.prod, shapes.values())),
        sha256=sha256,
        row=row,
        namesake=None if row else catalog.by_file(path.name),
    )


def _layout(file: WeightsFile, row: catalog.Row | None) -> str:
    if row is not None:
        return row.name
    if file.container == "onnx":
        return "onnx"
    return recognise(file)


def _shapes(file: WeightsFile) -> dict[str, tuple[int, ...]]:
    match file:
        case WeightsFile(container="onnx", settings={"shapes": dict() as shapes}):
            return {name: tuple(shape) for name, shape in shapes.items()}
    return {name: tuple(tensor.shape) for name, tensor in file.tensors.items()}


_LATENT_AVERAGE = re.compile(r"(.*\.)?(latent_avg|w_avg|avg_latent)")
_TO_RGB = re.compile(r".*\bto_rgbs\.(\d+)\.conv\.weight")  # rosinality: 8 pixels, 16, 32, ...
_BLOCK = re.compile(r"G_ema\.synthesis\.b(\d+)\..*")  # NVIDIA: the size itself


def _sizes(file: WeightsFile, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Image size and shape of the latent codes, as far as names and shapes tell."""
    found: dict[str, int] = {}
    rgb = [int(match[1]) for name in shapes if (match := _TO_RGB.fullmatch(name))]
    blocks = [int(match[1]) for name in shapes if (match := _BLOCK.fullmatch(name))]
    if rgb or blocks:
        found["size"] = max([8 * 2**index for index in rgb] + blocks)
    for name, shape in shapes.items():
        if _LATENT_AVERAGE.fullmatch(name) and shape:
            found["w_dim"] = shape[-1]
            if len(shape) > 1 and shape[-2] > 1:
                found["num_ws"] = shape[-2]
    return found | _own_sizes(file)


def _own_sizes(file: WeightsFile) -> dict[str, int]:
    """The whole numbers in the description that the project's own files carry."""
    config = file.settings.get("config")
    if file.settings.get("format") != "oodinv" or not isinstance(config, str):
        return {}
    try:
        values = json.loads(config)
    except ValueError as error:
        raise WeightsError(f"{file.path}: has a damaged description ({error}); download it again") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{file.path}: has a description that is no dict; download it again")
    return {name: value for name, value in values.items() if type(value) is int}
