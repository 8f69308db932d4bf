"""Ablations: what is left out of the method, or set differently, to see what it is worth."""

import copy
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from oodinv.compositing.compose import compose
from oodinv.errors import RecipeError
from oodinv.imaging.pixels import levels_of, signed
from oodinv.inversion import Inversion, decode
from oodinv.models.encoders.base import Encoding
from oodinv.models.ops import composite
from oodinv.models.samm import Alignment, Samm
from oodinv.recipe.edit import Composition
from oodinv.weights.build import Model

Blend = Literal["laplacian", "poisson"]
Named = Literal["full", "plain", "no-flow", "no-mask", "laplacian", "poisson"]


@dataclass(frozen=True)
class Cycles:
    """SAMM with another number of alignment cycles."""

    count: int


@dataclass(frozen=True)
class Only:
    """SAMM at a single size."""

    size: int


@dataclass(frozen=True)
class Sizes:
    """Stands for `Only` at each of a model's sizes."""


Variant = Named | Cycles | Only
Request = Variant | Sizes

_MEANING: dict[Named, str] = {
    "full": "the method as the card has it",
    "plain": "encoder and generator alone: no alignment, no mask",
    "no-flow": "masks as in full, all flows set to zero",
    "no-mask": "aligned as in full, nothing copied from the input",
    "laplacian": "as full, but composed by a Laplacian pyramid",
    "poisson": "as full, but composed seam-free (Poisson)",
}


def is_blend(variant: Variant) -> bool:
    """Whether a variant differs from the full method in its composite alone."""
    return variant in get_args(Blend)


def title(variant: Variant) -> str:
    """Name of a variant in tables and files, as `parse` takes it."""
    match variant:
        case Cycles(count):
            return f"cycles-{count}"
        case Only(size):
            return f"size-{size}"
    return variant


def meaning(variant: Variant) -> str:
    """One line for readers of a table."""
    match variant:
        case Cycles(count):
            return f"{count} alignment cycle{'s' if count > 1 else ''} at each size"
        case Only(size):
            return f"alignment and mask at size {size} alone"
    return _MEANING[variant]


def parse(names: Iterable[str]) -> list[Request]:
    """Variants from names: plain, no-flow, no-mask, a blend, cycles-N, cycles-A..B, size-N, sizes; `full` is first.

    Raises:
        RecipeError: an unknown name, or a range that is empty.
    """
    requests: list[Request] = ["full"]
    for name in names:
        requests += _parse_one(name.strip())
    return list(dict.fromkeys(requests))


def _parse_one(name: str) -> Iterator[Request]:
    named = next((known for known in get_args(Named) if known == name), None)
    if named is not None:
        yield named
    elif name == "sizes":
        yield Sizes()
    elif (match := re.fullmatch(r"cycles-([1-9])(?:\.\.([1-9]))?", name)) is not None:
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise RecipeError(f"{name}: the range is empty; write the smaller number first")
        yield from (Cycles(n) for n in range(first, last + 1))
    elif (match := re.fullmatch(r"size-(\d+)", name)) is not None:
        yield Only(int(match[1]))
    else:
        known = ", ".join(get_args(Named))
        raise RecipeError(f"{name!r} is no ablation; there are {known}, cycles-N, cycles-A..B, size-N and sizes")


def applicable(requests: Iterable[Request], samm: Samm | None) -> list[Variant]:
    """The variants that say something about a model; without SAMM only `full`, which is then plain inversion.

    Raises:
        RecipeError: a size that the model has not.
    """
    if samm is None:
        return ["full"]
    variants = list[Variant]()
    for request in requests:
        match request:
            case Sizes():
                variants += [Only(size) for size in samm.sizes]
            case Only(size) if size not in samm.channels:
                raise RecipeError(f"size-{size}: this model aligns at {', '.join(map(str, samm.sizes))}")
            case _:
                variants.append(request)
    return list(dict.fromkeys(variants))


def with_cycles(samm: Samm, count: int) -> Samm:
    """The same parameters with another number of cycles."""
    changed = copy.copy(samm)
    changed.cycles = count
    return changed


def with_size(samm: Samm, size: int) -> Samm:
    """The same parameters, acting at one size only."""
    changed = copy.copy(samm)
    changed.channels, changed.sizes = {size: samm.channels[size]}, [size]
    return changed


def blended(technique: Blend, image: Tensor, generated: Tensor, mask: Tensor) -> Tensor:
    """Crops and generated pictures (B, 3, H, W) in [−1, 1] joined where the mask (B, 1, H, W) says, same shape."""
    kept, drawn = (levels_of(x).clamp(0, 255).permute(0, 2, 3, 1).cpu().numpy() for x in (image, generated))
    how = Composition(technique=technique)
    masks = mask[:, 0].float().cpu().numpy()
    levels = np.stack([compose(*parts, how) for parts in zip(kept, drawn, masks, strict=True)])
    return signed(torch.from_numpy(levels).permute(0, 3, 1, 2).to(image.device))


def invert_as(
    variant: Variant, model: Model, image: Tensor, encoding: Encoding, full: Inversion, dtype: torch.dtype
) -> Inversion:
    """A variant's inversion of crops (B, 3, H, W) in [−1, 1] from their encoding and the full method's inversion."""
    w_plus = encoding.w_plus.float()
    match variant:
        case "full":
            return full
        case "plain":
            return decode(replace(model, samm=None), image, w_plus, encoding, "fixed", dtype)
        case "no-flow":
            still = {s: Alignment(torch.zeros_like(a.flow), a.mask) for s, a in full.alignments.items()}
            return decode(model, image, w_plus, still, "fixed", dtype)
        case "no-mask":
            nothing = torch.zeros_like(full.mask)
            return replace(full, mask=nothing, composite=composite(image, full.generated, nothing))
        case "laplacian" | "poisson":
            return replace(full, composite=blended(variant, image, full.generated, full.mask))
        case Cycles(count) if model.samm is not None:
            changed = with_cycles(model.samm, count)
        case Only(size) if model.samm is not None:
            changed = with_size(model.samm, size)
        case _:
            raise ValueError(f"{title(variant)} needs a model with SAMM")
    return decode(replace(model, samm=changed), image, w_plus, encoding, "fixed", dtype)
