"""Statistics of SAMM's flows and masks."""

from collections.abc import Mapping

import torch
from torch import Tensor

from oodinv.models.samm import Alignment


def mask_area(mask: Tensor) -> Tensor:
    """Mean of the mask M (B, 1, H, W) in [0, 1] → (B,), the share of the picture copied from the input."""
    return mask.double().mean(dim=(1, 2, 3))


def flow_magnitude(alignments: Mapping[int, Alignment]) -> Tensor | None:
    """Mean length of the flow, averaged over sizes, as a fraction of the picture's width → (B,); None without SAMM.

    Flow is in grid units; the width is 2.
    """
    if not alignments:
        return None
    lengths = [a.flow.double().square().sum(dim=1).sqrt().mean(dim=(1, 2)) / 2 for a in alignments.values()]
    return torch.stack(lengths).mean(dim=0)
