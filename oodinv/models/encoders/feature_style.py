"""The Feature-Style encoder: ArcFace's iResNet-50 and a linear head for each row of w_plus.

Its content feature, which the published method injects into the generator, is left out: SAMM takes its place.
Source: "Feature-Style Encoder for Style-Based GAN Inversion" (Yao et al. 2022).
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.encoders.backbones import INPUT_SIZE, IRESNET_50, IRESNET_UNIT, STAGES, TAP_CHANNELS, Backbone
from oodinv.models.encoders.base import Encoder, Encoding
from oodinv.models.generators.base import Generator
from oodinv.models.naming import (
    BATCH_NORM,
    DROP,
    WEIGHT,
    Layout,
    Rule,
    Rules,
    Settings,
    State,
    each,
    numbers,
    shape,
    under,
)

POOLED = 3
STAGE_SIZES = (128, 64, 32, 16)


FEATURE_STYLE_ENCODER: Rules = (
    *under("conv.0.", "backbone.stem_conv.", WEIGHT),
    *under("conv.1.", "backbone.stem_norm.", BATCH_NORM),
    *under("conv.2.", "backbone.stem_prelu.", WEIGHT),
    *each(
        under(f"block_{stage + 1}.{n}.", f"backbone.stages.{stage}.{n}.", IRESNET_UNIT)
        for stage, (_, depth) in enumerate(STAGES)
        for n in range(depth)
    ),
    Rule(r"content_layer\..*", DROP),  # what it gives is injected into the generator; SAMM takes its place
    Rule(r"styles\.(\d+)\.(weight|bias)", r"heads.\1.\2"),
)


class FeatureStyle(Encoder):
    """image → w_plus. `w_avg` (num_ws, w_dim) is the average latent that the heads' output is added to."""

    kind = "feature_style"
    mark = r"heads\.0\.weight"
    layouts = (Layout("feature-style", r"block_1\.0\.bn1\.weight", under("", "encoder.", FEATURE_STYLE_ENCODER)),)
    names = FEATURE_STYLE_ENCODER

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

    def refine(self, image: Tensor, w_plus: Tensor, generator: Generator) -> Encoding:  # noqa: ARG002
        """Same as `forward`: a single pass that needs neither codes nor generator."""
        return self(image)  # type: ignore[no-any-return]

    @classmethod
    def arguments(cls, state: State, settings: Settings) -> dict[str, Any]:  # noqa: ARG003
        """One row of w_plus for each head."""
        return {"num_ws": len(numbers(state, r"heads\.(\d+)\..*")), "w_dim": shape(state, "heads.0.bias")[0]}
