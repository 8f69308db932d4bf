"""Style heads of e4e and ReStyle: from feature maps to w_plus.

Source: "Designing an Encoder for StyleGAN Image Manipulation" (Tov et al., SIGGRAPH 2021), section 4.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.encoders.backbones import IR_SE_BACKBONE
from oodinv.models.layers import EqualLinear
from oodinv.models.naming import DROP, LATENT_AVG, LINEAR, Embedded, Rule, Rules, under

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
    """Builds a head for each row of w_plus, given the size of its input map."""
    return nn.ModuleList(StyleHead(size, w_dim) for size in sizes)


def predict_rows(heads: nn.ModuleList, maps: Sequence[Tensor]) -> Tensor:
    """Base and offsets: row 0 is head 0's, row n is head 0's plus head n's.

    maps: for each head its feature map (B, w_dim, s, s) → (B, len(heads), w_dim) in float32. With channels last,
    PyTorch would rearrange a gigabyte of the heads' weights on the CPU each time, which takes longer than it saves.
    """
    base, *offsets = (head(x.contiguous()).float() for head, x in zip(heads, maps, strict=True))
    return torch.stack([base, *(base + offset for offset in offsets)], dim=1)


# ---------------------------------------------------------------------------------------------------------
# Names in the files of e4e and ReStyle, which hold their generator too

MAX_HEAD_STEPS = 6
"""Convolutions of a style head on the 64² map, the largest there is."""

IR_SE_ENCODER: Rules = (
    *IR_SE_BACKBONE,
    *under("latlayer1.", "lateral_32.", LINEAR),
    *under("latlayer2.", "lateral_64.", LINEAR),
    *(Rule(rf"styles\.(\d+)\.convs\.{2 * n}\.(weight|bias)", rf"heads.\1.convs.{n}.\2") for n in range(MAX_HEAD_STEPS)),
    Rule(r"styles\.(\d+)\.linear\.(weight|bias)", r"heads.\1.linear.\2"),
)
ENCODER_FILE: Rules = (
    *under("state_dict.encoder.", "encoder.", IR_SE_ENCODER),
    Embedded("state_dict.decoder.", "generator"),
    *LATENT_AVG,
    Rule(r"(discriminator_state_dict|discriminator_optimizer|optimizer)\..*", DROP),
)
