"""Pictures with known structure."""

import numpy as np


def smooth(size: int, seed: int) -> np.ndarray:
    """A smooth picture, float32 (size, size, 3) in about [60, 190]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [
        rng.normal(size=3) * np.cos(2 * np.pi * (f * x + g * y) + f)[..., None] for f in range(4) for g in range(4)
    ]
    return (125 + 12 * np.sum(waves, axis=0)).astype(np.float32)


def disc(size: int) -> np.ndarray:
    """1 outside a disc in the middle, 0 inside."""
    y, x = np.mgrid[0:size, 0:size] + 0.5
    return (np.hypot(x - size / 2, y - size / 2) > size / 3).astype(np.float32)
