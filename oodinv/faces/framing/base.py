"""The interface of framings, which compute the square around a face from its points."""

from collections.abc import Callable
from dataclasses import dataclass

from oodinv.faces.quads import Points


@dataclass(frozen=True)
class Framing:
    """A way to place the crop around a face.

    name: as `crop.framing` in model cards has it. quad: (points (5, 2), scale) → corners (4, 2); points are the
    centre of the left eye, of the right eye, the tip of the nose, the left and right corner of the mouth, left and
    right as seen in the picture. A scale below 1 gives a tighter crop.
    """

    name: str
    quad: Callable[[Points, float], Points]
