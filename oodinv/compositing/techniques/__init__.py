"""Techniques that join kept and generated parts: a module for each, and one line in TECHNIQUES.

`technique` in recipes offers what is listed here.
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
    """Returns the technique with this name: `join` of its module, (crop, generated, mask) → joined, all (S, S, …).

    Raises:
        ValueError: no technique has this name; lists those there are.
    """
    join: Callable[[Levels, Levels, Mask], Levels] = choose(TECHNIQUES, name, "technique").load().join
    return join
