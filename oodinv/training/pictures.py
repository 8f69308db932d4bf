"""Pictures to look at while a model trains."""

import math

import torch
from torch import Tensor

from oodinv.ops import resize


def picture_grid(rows: list[Tensor]) -> Tensor:
    """Rows of equally sized pictures (B, 3, S, S) → one picture (1, 3, rows · S, B · S)."""
    return torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)[None]


def flow_colours(flow: Tensor, flow_range: float, size: int) -> Tensor:
    """Directions as hues on a colour wheel, lengths as saturation, no flow as white.

    flow (B, 2, S, S) in grid units, of which `flow_range` has full colour → (B, 3, size, size) in [−1, 1].
    """
    flow = resize(flow.float(), size)
    length = (flow.square().sum(dim=1, keepdim=True).sqrt() / flow_range).clamp(max=1)
    angle = torch.atan2(flow[:, 1:], flow[:, :1])
    shifts = torch.tensor([0.0, 2 * math.pi / 3, 4 * math.pi / 3], device=flow.device).reshape(1, 3, 1, 1)
    hue = (torch.cos(angle - shifts) + 1) / 2
    return 2 * (1 - length * (1 - hue)) - 1


def mask_grey(mask: Tensor) -> Tensor:
    """(B, 1, S, S) in [0, 1] → grey pictures (B, 3, S, S) in [−1, 1], white where the input is copied."""
    return mask.expand(-1, 3, -1, -1) * 2 - 1
