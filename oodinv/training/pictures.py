"""Pictures of held-out faces during training."""

import numpy as np
import torch
from torch import Tensor

from oodinv.imaging.flow import flow_colours
from oodinv.imaging.pixels import to_tensor
from oodinv.models.ops import resize


def picture_grid(rows: list[Tensor]) -> Tensor:
    """Joins rows of equally sized pictures (B, 3, S, S). → (1, 3, rows · S, B · S)"""
    return torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)[None]


def flow_pictures(flow: Tensor, flow_range: float, size: int) -> Tensor:
    """Colours flows (B, 2, S, S) in grid units by `flow_colours`. → (B, 3, size, size) in [−1, 1], on the CPU"""
    flows = resize(flow.float(), size).cpu().numpy()
    return to_tensor(np.stack([flow_colours(one, flow_range) for one in flows]))


def mask_grey(mask: Tensor) -> Tensor:
    """Masks (B, 1, S, S) in [0, 1] as grey pictures (B, 3, S, S) in [−1, 1], white where the input is copied."""
    return mask.expand(-1, 3, -1, -1) * 2 - 1
