"""Ablations: the method with one part left out or set differently. A new one is one line in `ABLATIONS`."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from oodinv.compositing.compose import compose
from oodinv.compositing.composition import Composition
from oodinv.errors import RecipeError
from oodinv.imaging.pixels import levels_of, signed
from oodinv.inversion import Inversion, decode
from oodinv.models.encoders.base import Encoding
from oodinv.models.generators.base import photo_noise
from oodinv.models.ops import composite
from oodinv.models.samm import Alignment, Samm
from oodinv.weights.build import Model


@dataclass(frozen=True, eq=False)
class EncodedBatch:
    """Crops (B, 3, H, W) in [−1, 1], their encoding, and their inversion by the full method."""

    model: Model
    image: Tensor
    encoding: Encoding
    full: Inversion
    dtype: torch.dtype

    def decode(self, model: Model, source: Encoding | dict[int, Alignment]) -> Inversion:
        """Generates and composites again, with a changed model or other alignments."""
        noise = photo_noise("fixed", self.full.noise)
        return decode(model, self.image, self.encoding.w_plus.float(), source, noise, self.dtype)


@dataclass(frozen=True)
class Ablation:
    """One ablation.

    Args:
        name: as given to --ablate, and in tables and files.
        meaning: explanation in reports.
        invert: computes the inversion.
        composite_only: true if only the composite differs from the full method's.
        after_full: true if it starts from the full method's result, whose cost it then includes.
    """

    name: str
    meaning: str
    invert: Callable[[EncodedBatch], Inversion] = field(compare=False, repr=False)
    composite_only: bool = False
    after_full: bool = False


@dataclass(frozen=True)
class AblationPattern:
    """A family of ablations whose names match a pattern.

    Args:
        usage: the names as help texts write them.
        pattern: regular expression of the whole name.
        expand: returns the ablations of one name for a SAMM; None: only checks the name. Raises RecipeError for an
            invalid name.
    """

    usage: str
    pattern: str
    expand: Callable[[re.Match[str], Samm | None], list[Ablation]] = field(compare=False, repr=False)


def _full(batch: EncodedBatch) -> Inversion:
    return batch.full


def _plain(batch: EncodedBatch) -> Inversion:
    return batch.decode(replace(batch.model, samm=None), batch.encoding)


def without_flow(batch: EncodedBatch) -> Inversion:
    """Inverts with the full method's masks and all flows set to zero."""
    still = {s: Alignment(torch.zeros_like(a.flow), a.mask) for s, a in batch.full.alignments.items()}
    return batch.decode(batch.model, still)


def _without_mask(batch: EncodedBatch) -> Inversion:
    full = batch.full
    nothing = torch.zeros_like(full.mask)
    return replace(full, mask=nothing, composite=composite(batch.image, full.generated, nothing))


def _composed(technique: str, batch: EncodedBatch) -> Inversion:
    """Composes the full method's pictures by another technique."""
    full = batch.full
    x, generated = (levels_of(t).clamp(0, 255).permute(0, 2, 3, 1).cpu().numpy() for t in (batch.image, full.generated))
    masks = full.mask[:, 0].float().cpu().numpy()
    how = Composition(technique=technique)
    levels = np.stack([compose(*parts, how) for parts in zip(x, generated, masks, strict=True)])
    return replace(full, composite=signed(torch.from_numpy(levels).permute(0, 3, 1, 2).to(batch.image.device)))


def _rebuilt(samm: Samm, sizes: list[int], cycles: int) -> Samm:
    """Builds a SAMM that shares the parameters, for some of the sizes and another number of cycles."""
    with torch.device("meta"):
        changed = Samm(
            {size: samm.channels[size] for size in sizes},
            {size: samm.tap_channels[size] for size in sizes},
            cycles=cycles,
            flow_range=samm.flow_range,
        )
    state = samm.state_dict()
    changed.load_state_dict({key: state[key] for key in changed.state_dict()}, assign=True)
    return changed.requires_grad_(False).eval()


def _with_samm(change: Callable[[Samm], Samm], batch: EncodedBatch) -> Inversion:
    assert batch.model.samm is not None
    return batch.decode(replace(batch.model, samm=change(batch.model.samm)), batch.encoding)


def _cycles(count: int) -> Ablation:
    words = f"{count} alignment cycle{'s' if count > 1 else ''} at each size"
    change = partial(_with_samm, lambda samm: _rebuilt(samm, samm.sizes, count))
    return Ablation(f"cycles-{count}", words, change)


def _expand_cycles(match: re.Match[str], _samm: Samm | None) -> list[Ablation]:
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise RecipeError(f"{match[0]}: the range is empty; write the smaller number first")
    return [_cycles(count) for count in range(first, last + 1)]


def _size(size: int) -> Ablation:
    change = partial(_with_samm, lambda samm: _rebuilt(samm, [size], samm.cycles))
    return Ablation(f"size-{size}", f"alignment and mask at size {size} alone", change)


def _expand_size(match: re.Match[str], samm: Samm | None) -> list[Ablation]:
    size = int(match[1])
    if samm is not None and size not in samm.channels:
        raise RecipeError(f"{match[0]}: this model aligns at {', '.join(map(str, samm.sizes))}")
    return [_size(size)]


def _expand_sizes(_match: re.Match[str], samm: Samm | None) -> list[Ablation]:
    return [] if samm is None else [_size(size) for size in samm.sizes]


FULL = Ablation("full", "the method as the card describes it", _full, after_full=True)

ABLATIONS: tuple[Ablation | AblationPattern, ...] = (
    FULL,
    Ablation("plain", "encoder and generator alone: no alignment, no mask", _plain),
    Ablation("no-flow", "masks as in full, all flows set to zero", without_flow),
    Ablation("no-mask", "aligned as in full, nothing copied from the input", _without_mask, after_full=True),
    Ablation("laplacian", "as full, but composed by a Laplacian pyramid", partial(_composed, "laplacian"), True, True),
    Ablation("poisson", "as full, but composed seam-free (Poisson)", partial(_composed, "poisson"), True, True),
    AblationPattern("cycles-N, cycles-A..B", r"cycles-([1-9])(?:\.\.([1-9]))?", _expand_cycles),
    AblationPattern("size-N", r"size-(\d+)", _expand_size),
    AblationPattern("sizes", "sizes", _expand_sizes),
)


def find_ablations(names: Iterable[str], samm: Samm | None) -> list[Ablation]:
    """Finds ablations by their names, each once; `full` is first. samm: None only checks the names.

    Raises:
        RecipeError: an unknown name, an empty range, or a size that SAMM doesn't have.
    """
    found = [FULL]
    for name in names:
        found += _find(name.strip(), samm)
    return list(dict.fromkeys(found))


def _find(name: str, samm: Samm | None) -> Iterator[Ablation]:
    for entry in ABLATIONS:
        if isinstance(entry, Ablation):
            if entry.name == name:
                yield entry
                return
        elif match := re.fullmatch(entry.pattern, name):
            yield from entry.expand(match, samm)
            return
    known = ", ".join(entry.name if isinstance(entry, Ablation) else entry.usage for entry in ABLATIONS)
    raise RecipeError(f"there is no ablation {name!r}; choose among {known}")


def ablations_of(names: Iterable[str], samm: Samm | None) -> list[Ablation]:
    """Finds the ablations of a model; without SAMM only `full`, which is then plain inversion."""
    return [FULL] if samm is None else find_ablations(names, samm)
