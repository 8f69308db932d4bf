"""Measures of pictures generated from codes, without SAMM."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch

from oodinv.directions import measures
from oodinv.directions.labels import Labels
from oodinv.faces.detectors.base import Detector
from oodinv.imaging.pixels import Pixels, resize_pixels, to_uint8
from oodinv.inversion import inference
from oodinv.models.synthesis import synthesize
from oodinv.weights.build import Model

NAMES = ("drawn_yaw", "drawn_turn", "drawn_pitch", "drawn_smile")
"""Yaw, turn, pitch and smile measured on the generated picture instead of the photo."""

ON_CODES = "measured on codes"
ON_PICTURES = "measured on generated pictures"
"""Description of the unit of a direction in its file."""

BATCH = 16
_DETECTOR_SIZE = 256  # px: smaller pictures are enlarged for the detector


def pictures(model: Model, w_plus: torch.Tensor) -> Iterator[torch.Tensor]:
    """Generates batches of pictures (B, 3, S, S) in [−1, 1] from codes (N, num_ws, w_dim)."""
    device = model.generator.w_avg.device
    for some in w_plus.split(BATCH):
        with inference(device, torch.float32):
            yield synthesize(model.generator, some.to(device), "fixed").clamp(-1, 1)


def measured(model: Model, w_plus: torch.Tensor, detector: Detector) -> Labels:
    """Measures `NAMES` for codes (N, num_ws, w_dim), each (N,); NaN where no face is found in the picture."""
    with ThreadPoolExecutor() as pool:  # batch by batch: the pool would generate all pictures before measuring
        batches = (pool.map(partial(_of_picture, detector), to_uint8(some)) for some in pictures(model, w_plus))
        found = [face for batch in batches for face in batch]
    return {name: np.array([face.get(name.removeprefix("drawn_"), np.nan) for face in found]) for name in NAMES}


def _of_picture(detector: Detector, pixels: Pixels) -> dict[str, float]:
    return measures.of_largest(detector, resize_pixels(pixels, max(_DETECTOR_SIZE, pixels.shape[0]))) or {}
