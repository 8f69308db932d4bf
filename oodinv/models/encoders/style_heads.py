"""Style heads: from feature maps to w_plus, as e4e and ReStyle do it.

Source: "Designing an Encoder for StyleGAN Image Manipulation" (Tov et al., SIGGRAPH 2021), section 4.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.generators.stylegan2 import EqualLinear

HEAD_SLOPE = 0.01


class StyleHead(nn.Module):
    """Strided convolutions down to one pixel, then a linear layer: one row of w_plus from a feature map."""

    def __init__(self, size: int, w_dim: int) -> None:
        super().__init__()
        steps = size.bit_length() - 1
        self.convs = nn.ModuleList(nn.Conv2d(w_dim, w_dim, 3, 2, 1) for _ in range(steps))
        self.linear = EqualLinear(w_dim, w_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, w_dim, size, size) → (B, w_dim)."""
        for conv in self.convs:
            x = F.leaky_relu(conv(x), HEAD_SLOPE)
        return self.linear(x.flatten(1))  # type: ignore[no-any-return]


def style_heads(sizes: Iterable[int], w_dim: int) -> nn.ModuleList:
    """One head for each row of w_plus, given the size of the map that it looks at."""
    return nn.ModuleList(StyleHead(size, w_dim) for size in sizes)


def predict_rows(heads: nn.ModuleList, maps: Sequence[Tensor]) -> Tensor:
    """Base and offsets: row 0 is head 0's, row n is head 0's plus head n's.

    maps: for each head its feature map (B, w_dim, s, s) → (B, len(heads), w_dim) in float32. With channels last,
    PyTorch would rearrange a gigabyte of the heads' weights on the CPU each time, which takes longer than it saves.
    """
    base, *offsets = (head(x.contiguous()).float() for head, x in zip(heads, maps, strict=True))
    return torch.stack([base, *(base + offset for offset in offsets)], dim=1)
