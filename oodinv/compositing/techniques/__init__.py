"""Registry of blending techniques: one module and one entry in TECHNIQUES each.

`technique` in recipes offers the names listed here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from oodinv.records import Choice, choose

if TYPE_CHECKING:
    from oodinv.imaging.pixels import Levels, Mask

TECHNIQUES: tuple[Choice, ...] = (
    Choice("mask", "by the mask", "oodinv.compositing.techniques.mask"),
    Choice(
        "laplacian", "octave by octave, with wide seams for coarse structure", "oodinv.compositing.techniques.laplacian"
    ),
    Choice(
        "poisson",
        "without a seam, by gradients",
        "oodinv.compositing.techniques.poisson",
    ),
)


def load_technique(name: str) -> "Callable[[Levels, Levels, Mask], Levels]":
    """Returns `join` of the named technique's module: (crop (S, S, 3), generated (S, S, 3), mask (S, S)) → (S, S, 3).

    Raises:
        ValueError: no technique has this name; the message lists the registered ones.
    """
    join: Callable[[Levels, Levels, Mask], Levels] = choose(TECHNIQUES, name, "technique").load().join
    return join
