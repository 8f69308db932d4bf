"""Layers with equalised learning rate, and tables of sizes and channels.

Source: "Analyzing and Improving the Image Quality of StyleGAN" (Karras et al., CVPR 2020).
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def sizes_up_to(size: int) -> list[int]:
    """4, 8, …, size.

    Raises:
        ValueError: `size` is not a power of two of at least 8.
    """
    if size < 8 or size & (size - 1):
        raise ValueError(f"a StyleGAN2 generator has a power-of-two size of at least 8, not {size}")
    return [2**n for n in range(2, size.bit_length())]


def channel_plan(size: int, base: int = 32768, maximum: int = 512) -> dict[int, int]:
    """Channels of each block, min(base / s, maximum); the defaults are those of config F."""
    return {s: min(base // s, maximum) for s in sizes_up_to(size)}


class EqualLinear(nn.Module):
    """Linear layer with equalised learning rate: W·lr/√in and bias·lr are applied at run time."""

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, lr: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr)
        self.bias = nn.Parameter(torch.full((outputs,), bias / lr))
        self.gain = lr / math.sqrt(inputs)
        self.lr = lr

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) → (B, outputs)."""
        return F.linear(x, self.weight * self.gain, self.bias * self.lr)
