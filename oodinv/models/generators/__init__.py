"""Generators, a file for each family; a new one is a file here and a line in `GENERATORS`."""

from typing import Any

from oodinv.models.generators.base import Generator
from oodinv.models.generators.mobilestylegan import MobileStyleGAN
from oodinv.models.generators.stylegan2 import StyleGAN2

GENERATORS: tuple[type[Generator], ...] = (StyleGAN2, MobileStyleGAN)
"""Every family of generators."""


def named(kind: str) -> type[Generator]:
    """The family of that name.

    Raises:
        ValueError: there is none.
    """
    for family in GENERATORS:
        if family.kind == kind:
            return family
    raise ValueError(f"there is no family of generators {kind!r}; there are {', '.join(f.kind for f in GENERATORS)}")


def construct(kind: str, **arguments: Any) -> Generator:
    """A generator of a family with random weights.

    Raises:
        ValueError: there is no such family, or arguments that its constructor refuses.
    """
    return named(kind)(**arguments)
