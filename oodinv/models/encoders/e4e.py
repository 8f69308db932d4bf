"""The e4e encoder: IR-SE-50 with a feature pyramid and one style head a row of w_plus.

Source: "Designing an Encoder for StyleGAN Image Manipulation" (Tov et al., SIGGRAPH 2021).
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.encoders.backbones import INPUT_SIZE, IR_SE_50, TAP_CHANNELS, Backbone
from oodinv.models.encoders.base import Encoder, Encoding
from oodinv.models.encoders.style_heads import ENCODER_FILE, IR_SE_ENCODER, predict_rows, style_heads
from oodinv.models.generators.base import Generator
from oodinv.models.naming import Layout, Settings, State, numbers, shape
from oodinv.models.ops import resize

COARSE_ROWS, MIDDLE_ROWS = 3, 7
"""Rows before the third look at the 16² map, those before the seventh at 32², the others at 64²."""


def map_size(row: int) -> int:
    """Size of the feature map that the head of a row of w_plus reads."""
    if row < COARSE_ROWS:
        return 16
    return 32 if row < MIDDLE_ROWS else 64


def add_upsampled(coarse: Tensor, fine: Tensor) -> Tensor:
    """One step down the pyramid: coarse (B, C, s, s) enlarged to fine's size (B, C, 2s, 2s), plus fine.

    Bicubic, as in the published out-of-domain model, where SAMM was trained on it.
    """
    return F.interpolate(coarse, size=fine.shape[-2:], mode="bicubic", align_corners=True) + fine


class E4e(Encoder):
    """image → w_plus. `w_avg` (num_ws, w_dim) is the average latent that the heads' output is added to."""

    kind = "e4e"
    mark = r"lateral_32\.weight"
    layouts = (Layout("e4e", r"state_dict\.encoder\.latlayer1\.weight", ENCODER_FILE, "Encoder4Editing"),)
    names = IR_SE_ENCODER

    def __init__(self, *, num_ws: int, w_dim: int = 512) -> None:
        super().__init__()
        self.num_ws, self.w_dim = num_ws, w_dim
        self.tap_channels = dict(TAP_CHANNELS)
        self.backbone = Backbone(3, IR_SE_50)
        self.lateral_32 = nn.Conv2d(256, w_dim, 1)
        self.lateral_64 = nn.Conv2d(128, w_dim, 1)
        self.heads = style_heads(map(map_size, range(num_ws)), w_dim)
        self.register_buffer("w_avg", torch.zeros(num_ws, w_dim))

    def pyramid(self, maps: dict[int, Tensor]) -> dict[int, Tensor]:
        """Backbone maps → {16, 32, 64: (B, w_dim, s, s)}."""
        p16 = maps[16]
        p32 = add_upsampled(p16, self.lateral_32(maps[32]))
        p64 = add_upsampled(p32, self.lateral_64(maps[64]))
        return {16: p16, 32: p32, 64: p64}

    def forward(self, image: Tensor) -> Encoding:
        """image (B, 3, H, W) in [−1, 1] → w_plus (B, num_ws, w_dim) and the backbone's maps."""
        maps = self.backbone(resize(image, INPUT_SIZE))
        pyramid = self.pyramid(maps)
        rows = predict_rows(self.heads, [pyramid[map_size(row)] for row in range(len(self.heads))])
        return Encoding(self.w_avg + rows, {size: maps[size] for size in self.tap_channels})

    def refine(self, image: Tensor, w_plus: Tensor, generator: Generator) -> Encoding:  # noqa: ARG002
        """Same as `forward`: a single pass that needs neither codes nor generator."""
        return self(image)  # type: ignore[no-any-return]

    def face_backbone(self) -> Backbone:
        """The IR-SE-50."""
        return self.backbone

    @classmethod
    def arguments(cls, state: State, settings: Settings) -> dict[str, Any]:  # noqa: ARG003
        """One row of w_plus for each head."""
        return {"num_ws": len(numbers(state, r"heads\.(\d+)\..*")), "w_dim": shape(state, "heads.0.linear.bias")[0]}
