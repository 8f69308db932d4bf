"""The Feature-Style encoder: ArcFace's iResNet-50 and a linear head for each row of w_plus.

Its content feature, which the published method injects into the generator, is left out: SAMM takes its place.
Source: "Feature-Style Encoder for Style-Based GAN Inversion" (Yao et al. 2022).
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.encoders.backbones import INPUT_SIZE, IRESNET_50, STAGES, TAP_CHANNELS, Backbone
from oodinv.models.encoders.base import Encoding
from oodinv.models.generators.stylegan2 import Generator

POOLED = 3
STAGE_SIZES = (128, 64, 32, 16)


class FeatureStyle(nn.Module):
    """image → w_plus. `w_avg` (num_ws, w_dim) is the average latent that the heads' output is added to."""

    w_avg: Tensor

    def __init__(self, *, num_ws: int, w_dim: int = 512) -> None:
        super().__init__()
        self.num_ws, self.w_dim = num_ws, w_dim
        self.tap_channels = dict(TAP_CHANNELS)
        self.backbone = Backbone(3, IRESNET_50)
        inputs = POOLED**2 * sum(channels for channels, _ in STAGES)
        self.heads = nn.ModuleList(nn.Linear(inputs, w_dim) for _ in range(num_ws))
        self.register_buffer("w_avg", torch.zeros(num_ws, w_dim))

    def forward(self, image: Tensor) -> Encoding:
        """image (B, 3, H, W) in [−1, 1] → w_plus (B, num_ws, w_dim) and the backbone's maps."""
        maps = self.backbone(F.adaptive_avg_pool2d(image, INPUT_SIZE))
        pooled = torch.cat([F.adaptive_avg_pool2d(maps[size], POOLED) for size in STAGE_SIZES], dim=1)
        rows = torch.stack([head(pooled.flatten(1)).float() for head in self.heads], dim=1)
        return Encoding(self.w_avg + rows, {size: maps[size] for size in self.tap_channels})

    def encode(self, image: Tensor, generator: Generator) -> Encoding:  # noqa: ARG002
        """As `forward`; the generator is there for the protocol."""
        return self(image)  # type: ignore[no-any-return]
