"""Regularised offsets between the rows of w_plus, released one row after another.

Source: "Designing an Encoder for StyleGAN Image Manipulation" (Tov et al., SIGGRAPH 2021), section 3.
"""

from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from oodinv.records import Strict


class Offsets(Strict):
    """Regularised offsets of the rows of w_plus; one more row is free every `every` steps, from step `start` on."""

    weight: Annotated[float, Field(ge=0)] = 2e-4
    start: Annotated[int, Field(ge=0)] = 20000
    every: PositiveInt = 2000


def stage_at(offsets: Offsets | None, step: int, num_ws: int) -> int:
    """The last row of w_plus that may differ from row 0 at a step; without regularised offsets, the last of all."""
    if offsets is None:
        return num_ws - 1
    if step < offsets.start:
        return 0
    return min(1 + (step - offsets.start) // offsets.every, num_ws - 1)


def limit_offsets(rows: Tensor, stage: int) -> Tensor:
    """Replaces rows beyond `stage` by row 0. (B, num_ws, w_dim) → same shape"""
    return torch.cat([rows[:, : stage + 1], rows[:, :1].expand(-1, rows.shape[1] - stage - 1, -1)], dim=1)
