"""Small pictures whose every level is known."""

import numpy as np
from PIL import ImageCms

RAMP = np.arange(64 * 48, dtype=np.uint32).reshape(48, 64)
GREY = (RAMP % 256).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)
ALPHA = np.where(RAMP % 7 == 0, 0, 200).astype(np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKE, ORIENTATION = 271, 274


def three(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey] * 3, axis=2)
