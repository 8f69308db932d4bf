"""Framings: a module for each, and one line in FRAMINGS. Model cards name them as `crop.framing`."""

from oodinv.faces.framing.base import Framing
from oodinv.faces.framing.ffhq import FFHQ

FRAMINGS: tuple[Framing, ...] = (FFHQ,)


def find_framing(name: str) -> Framing:
    """The framing of this name.

    Raises:
        ValueError: there is none; lists those there are.
    """
    for framing in FRAMINGS:
        if framing.name == name:
            return framing
    raise ValueError(f"no framing is named {name!r}; there are {', '.join(f.name for f in FRAMINGS)}")
