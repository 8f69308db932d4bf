"""Registry of generators: one module and one line in `GENERATORS` for each family."""

from typing import Any

from oodinv.models.generators.base import Generator
from oodinv.models.generators.mobilestylegan import MobileStyleGAN
from oodinv.models.generators.stylegan2 import StyleGAN2

GENERATORS: tuple[type[Generator], ...] = (
    StyleGAN2,
    MobileStyleGAN,
)
"""Families of generators."""


def named(kind: str) -> type[Generator]:
    """Returns the family with this name.

    Raises:
        ValueError: there is none.
    """
    for family in GENERATORS:
        if family.kind == kind:
            return family
    raise ValueError(f"there is no family of generators {kind!r}; there are {', '.join(f.kind for f in GENERATORS)}")


def construct(kind: str, **arguments: Any) -> Generator:
    """Constructs a generator with random weights.

    Raises:
        ValueError: there is no such family, or the arguments are invalid.
    """
    return named(kind)(**arguments)
