"""Registry of framings: one module and one entry in FRAMINGS each. Model cards name them as `crop.framing`."""

from oodinv.faces.framing.base import Framing
from oodinv.faces.framing.ffhq import FFHQ
from oodinv.records import choose

FRAMINGS: tuple[Framing, ...] = (FFHQ,)


def find_framing(name: str) -> Framing:
    """Returns the framing with this name.

    Raises:
        ValueError: there is none; the message lists all names.
    """
    return choose(FRAMINGS, name, "framing")
