"""Tables of rules that rename the parameters in weight files of other projects; each family has its own.

The first rule that matches a key wins. Targets start with the part of a model that they belong to (`generator.`,
`encoder.`, `samm.`, …), or are `average`, the average latent.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import torch
from torch import Tensor

State = Mapping[str, Tensor]
"""Tensors of one network by parameter name."""

Settings = Mapping[str, Any]
"""Settings in a weight file besides tensors, by key."""


class Drop(Enum):
    """Marks keys of a file that our module doesn't have: constants, or parameters without effect."""

    DROP = "drop"


DROP = Drop.DROP


@dataclass(frozen=True)
class Refuse:
    """Marks keys of networks that oodinv doesn't have."""

    reason: str


@dataclass(frozen=True)
class Rule:
    """Keys that match `pattern` completely become `target`, which may use its groups.

    transform: converts a value to the shape that we store; raises ValueError for invalid ones. Dropped values are only
    checked.
    """

    pattern: str
    target: str | Drop | Refuse
    transform: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Embedded:
    """Keys below `prefix` belong to a network of any registered family, with the keys of that family's files."""

    prefix: str
    part: Literal["generator", "encoder"]


Rules = tuple[Rule | Embedded, ...]


@dataclass(frozen=True)
class Layout:
    """Layout of a weight file; a file has it if one of its keys matches `mark` completely.

    encoder_type: value of `encoder_type` among the file's options that it must have, if any. It tells pSp from e4e,
    whose keys are the same; pSp's rows of w_plus are codes, e4e's are offsets from the first row. arrange: turns
    tensors and settings into a flat state under other names, for files whose tensors have no names of their own; raises
    ValueError for a file that it doesn't understand.
    """

    name: str
    mark: str
    rules: Rules
    encoder_type: str | None = None
    arrange: Callable[[State, Settings], dict[str, Tensor]] | None = None


def under(source: str, target: str, rules: Rules) -> Rules:
    """Prefixes the keys of rules with `source` and their targets with `target`."""
    return tuple(_under(source, target, rule) for rule in rules)


def _under(source: str, target: str, rule: Rule | Embedded) -> Rule | Embedded:
    if isinstance(rule, Embedded):
        return Embedded(source + rule.prefix, rule.part)
    named = target + rule.target if isinstance(rule.target, str) else rule.target
    return Rule(re.escape(source) + f"(?:{rule.pattern})", named, rule.transform)


def each(tables: Iterable[Rules]) -> Rules:
    """Concatenates tables of rules."""
    return tuple(rule for table in tables for rule in table)


# ---------------------------------------------------------------------------------------------------------
# Transforms of values


def first(x: Tensor) -> Tensor:
    """Removes a leading axis of length 1: (1, ...) → (...)."""
    if x.ndim == 0 or x.shape[0] != 1:
        raise ValueError(f"has shape {tuple(x.shape)} where a leading 1 was expected")
    return x[0]


def plane(x: Tensor) -> Tensor:
    """(1, 1, H, W) → (H, W)."""
    return first(first(x))


def flat(x: Tensor) -> Tensor:
    """(1, C, 1, 1) or (1, 1, C, 1) → (C,)."""
    return x.flatten()


def outputs_first(x: Tensor) -> Tensor:
    """Converts the kernel of a JAX convolution to PyTorch's: (k, k, I, O) → (O, I, k, k)."""
    return x.permute(3, 2, 0, 1)


def binomial(x: Tensor) -> Tensor:
    """Checks that a resampling filter is [1, 3, 3, 1] up to a factor, as in our arithmetic."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    if x.shape != (4, 4) or not torch.allclose(x.float() / x.float().sum(), torch.outer(taps, taps), atol=1e-6):
        raise ValueError("is another filter than [1, 3, 3, 1]")
    return x


# ---------------------------------------------------------------------------------------------------------
# Tables that many networks share

LINEAR: Rules = (Rule(r"(weight|bias)", r"\1"),)
WEIGHT: Rules = (Rule(r"weight", "weight"),)
BATCH_NORM: Rules = (
    Rule(r"(weight|bias|running_mean|running_var)", r"\1"),
    Rule(r"num_batches_tracked", DROP),  # only training reads it
)
LATENT_AVG: Rules = (Rule(r"latent_avg", "average"),)


# ---------------------------------------------------------------------------------------------------------
# Sizes read off a state


def shape(state: State, key: str) -> tuple[int, ...]:
    """Shape of a tensor from which a network's size follows.

    Raises:
        ValueError: it is missing, or has no shape.
    """
    if key not in state or state[key].ndim == 0:
        raise ValueError(f"lacks {key} (in oodinv's names)")
    return tuple(state[key].shape)


def numbers(state: State, pattern: str) -> list[int]:
    """Numbers that the group of `pattern` matches in the keys, ascending."""
    return sorted({int(m[1]) for key in state if (m := re.fullmatch(pattern, key))})
