"""The ReStyle encoder with e4e's backbone: several passes, each correcting what the last one generated.

Source: "ReStyle: A Residual-Based StyleGAN Encoder via Iterative Refinement" (Alaluf et al., ICCV 2021).
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.encoders.backbones import INPUT_SIZE, IR_SE_50, TAP_CHANNELS, Backbone
from oodinv.models.encoders.base import Encoding
from oodinv.models.encoders.style_heads import predict_rows, style_heads
from oodinv.models.generators.stylegan2 import Generator
from oodinv.models.synthesis import synthesize

HEAD_MAP = 16
"""All heads look at the 16² map."""


class Restyle(nn.Module):
    """Image and reconstruction → w_plus. `w_avg` (num_ws, w_dim) is where the first pass starts."""

    w_avg: Tensor

    def __init__(self, *, num_ws: int, w_dim: int = 512, passes: int = 5) -> None:
        super().__init__()
        self.num_ws, self.w_dim = num_ws, w_dim
        self.passes = passes
        self.tap_channels = dict(TAP_CHANNELS)
        self.backbone = Backbone(6, IR_SE_50)
        self.heads = style_heads([HEAD_MAP] * num_ws, w_dim)
        self.register_buffer("w_avg", torch.zeros(num_ws, w_dim))

    def refine(self, image: Tensor, reconstruction: Tensor, w_plus: Tensor) -> Encoding:
        """One pass. image, reconstruction (B, 3, 256, 256), w_plus (B, num_ws, w_dim) → a better w_plus."""
        maps = self.backbone(torch.cat([image, reconstruction], dim=1))
        offsets = predict_rows(self.heads, [maps[HEAD_MAP]] * len(self.heads))
        return Encoding(w_plus + offsets, {size: maps[size] for size in self.tap_channels})

    def encode(self, image: Tensor, generator: Generator) -> Encoding:
        """image (B, 3, H, W) in [−1, 1] → w_plus and features of the last pass.

        What a pass generated is drawn without noise: the encoder sees only what latents can change.
        """
        pooled = F.adaptive_avg_pool2d(image, INPUT_SIZE)
        encoding = Encoding(self.w_avg.expand(image.shape[0], -1, -1), {})
        for _ in range(self.passes):
            generated = synthesize(generator, encoding.w_plus, "zero")
            reconstruction = F.adaptive_avg_pool2d(generated, INPUT_SIZE)
            encoding = self.refine(pooled, reconstruction, encoding.w_plus)
        return encoding
