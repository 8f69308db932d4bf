"""Seamless blending of generated gradients by the Poisson equation."""

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.techniques import mask as by_mask
from oodinv.imaging.pixels import Levels, Mask

_SMALL = 64


def join(crop: Levels, generated: Levels, mask: Mask) -> Levels:
    """Blends the crop and the `seamless` generated picture by the mask. → (H, W, 3)."""
    return by_mask.join(crop, seamless(crop, generated, mask), mask)


def seamless(crop: Levels, generated: Levels, mask: Mask) -> Levels:
    """Blends the gradients of the generated picture into the crop. → (H, W, 3).

    Solves ∇²y = ∇²g where M < 1/2, with y = x elsewhere and on the crop's border; that is, y = g + c with
    harmonic c and c = x − g on the boundary. Source: Pérez, Gangnet and Blake, "Poisson image editing" (2003).
    """
    known = mask >= 0.5
    known[[0, -1]] = True
    known[:, [0, -1]] = True
    return generated + membrane(crop - generated, known)


def membrane(values: Levels, known: NDArray[np.bool_]) -> Levels:
    """Interpolates unknown pixels harmonically: each becomes the mean of its four neighbours. → (H, W, 3).

    values (H, W, 3); known (H, W), true along the border. Small pictures are solved by over-relaxation, to about 0.01
    grey levels; larger ones start from the solution at half the size and take a few further steps.
    """
    if known.all():
        return values
    size = max(known.shape)
    if size <= _SMALL:
        start = np.where(known[..., None], values, values[known].mean(axis=0))
        return _relax(start, known, rounds=4 * size, factor=2 / (1 + np.sin(np.pi / size)))
    half = ((known.shape[1] + 1) // 2, (known.shape[0] + 1) // 2)
    weight = cv2.resize(known.astype(np.float32), half, interpolation=cv2.INTER_AREA)
    summed = cv2.resize(values * known[..., None], half, interpolation=cv2.INTER_AREA)
    mean = np.asarray(summed / np.maximum(weight, 1e-6)[..., None], dtype=np.float32)
    coarse = membrane(mean, weight > 0)
    fine = cv2.resize(coarse, known.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return _relax(np.where(known[..., None], values, fine), known, rounds=6, factor=1.2)


def _relax(start: Levels, known: NDArray[np.bool_], rounds: int, factor: float) -> Levels:
    """Successive over-relaxation in red-black order until no value changes by 0.001, for at most `rounds` rounds."""
    filled = np.array(start, dtype=np.float32)
    row, column = np.indices(known.shape)
    steps = [((~known & ((row + column) % 2 == parity)) * np.float32(factor))[1:-1, 1:-1, None] for parity in (0, 1)]
    inner = filled[1:-1, 1:-1]
    for _ in range(rounds):
        largest = 0.0
        for step in steps:
            mean = (filled[:-2, 1:-1] + filled[2:, 1:-1] + filled[1:-1, :-2] + filled[1:-1, 2:]) / 4
            change = step * (mean - inner)
            inner += change
            largest = max(largest, float(np.abs(change).max(initial=0)))
        if largest < 1e-3:
            break
    return filled
