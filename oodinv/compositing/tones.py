"""Weight of changes of tone, which are proportional in shadows, against new content, which covers them."""

import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.pixels import Mask

TONING = 80.0
"""Grey levels: changes well below this are changes of tone; those well above are new content."""


def tone_weight(weight: NDArray[np.float32], change: NDArray[np.float32]) -> Mask:
    """1 − t · (1 − weight) with t = exp(−(change / TONING)²): `weight` for small changes, 1 for large ones."""
    return np.asarray(1 - np.exp(-np.square(change / TONING)) * (1 - weight), dtype=np.float32)
