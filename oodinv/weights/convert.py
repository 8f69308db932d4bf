"""Converts foreign weight files to the project's own format: one network per file, in full precision."""

from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch

from oodinv.errors import UnknownLayout, WeightsError
from oodinv.models.generators.base import Generator
from oodinv.models.samm import Samm
from oodinv.recipe.card import SammCard
from oodinv.weights import native
from oodinv.weights.families import build_generator, build_samm
from oodinv.weights.reading.read import read
from oodinv.weights.translation import Translation, translate
from oodinv.weights.verify import samm_sizes

Convertible = Literal["generator", "samm"]
"""Networks that can be converted; encoders of other projects are used unconverted."""


class Converted(NamedTuple):
    """The network that was written, and notes on values that the file lacks."""

    part: Convertible
    notes: tuple[str, ...]


def convert(source: Path, target: Path, part: Convertible | None = None) -> Converted:
    """Writes one network of `source` to `target` as .safetensors with its description, values unchanged.

    part: which network, if the file has both.

    Raises:
        WeightsError: as `read`; the file doesn't hold that part, or holds both and `part` is None.
        OutputError: `target` can't be written.
    """
    translation = translate(read(source))
    part = _choose(translation, part)
    module = _build(translation, part)
    native.save(target, module, torch.float32)
    return Converted(part, translation.notes)


def _choose(source: Translation, part: Convertible | None) -> Convertible:
    there: list[Convertible] = [name for name in get_args(Convertible) if name in source.parts]
    if part is None and len(there) > 1:
        raise WeightsError(f"{source.file.path}: holds {' and '.join(there)}; say which one to write")
    if part in there or (part is None and there):
        return part or there[0]
    raise UnknownLayout(
        f"{source.file.path}: is a {source.layout} file with {' and '.join(source.parts)} in it, and no "
        f"{part or 'generator or samm'} to convert; name it in a model card as it is"
    )


def _build(source: Translation, part: Convertible) -> Generator | Samm:
    match part:
        case "generator":
            return build_generator(source)
        case "samm":
            return build_samm(SammCard(weights=source.file.path.name, sizes=samm_sizes(source)), source)
