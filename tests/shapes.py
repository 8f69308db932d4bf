"""Pictures with known structure."""

import numpy as np

from oodinv.faces.parts import PARTS


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


def face_parts(*, hat: bool) -> np.ndarray:
    """Label map of a face with hair, neck and clothes before a background, uint8 (128, 128); with or without a hat."""
    y, x = np.mgrid[0:128, 0:128]
    parts = np.zeros((128, 128), np.uint8)
    for name, inside in (
        ("cloth", y > 116),
        ("neck", (np.abs(x - 64) < 18) & (y > 96) & (y <= 116)),
        ("hair", np.hypot((x - 63.5) / 48, (y - 64) / 60) < 1),
        ("skin", np.hypot((x - 63.5) / 34, (y - 70) / 46) < 1),
        ("eye", (np.hypot((np.abs(x - 63.5) - 15) / 7, (y - 60) / 4) < 1)),
        ("lip", np.hypot((x - 63.5) / 14, (y - 96) / 6) < 1),
    ):
        parts[inside] = PARTS.index(name)
    if hat:
        parts[(y < 26) & (np.abs(x - 63.5) < 50)] = PARTS.index("hat")
    return parts
