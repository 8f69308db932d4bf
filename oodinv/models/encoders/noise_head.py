"""Predicts offsets of a photo's noise maps from the photo and a preview of its codes.

Latent codes determine what a generator draws, noise maps where fine details such as single hairs lie ("A Style-Based
Generator Architecture for Generative Adversarial Networks", Karras et al., CVPR 2019, section 3.2). A projection
optimises noise maps (`refinement`); here they are predicted in one pass.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.ops import LEAKY_SLOPE, resize

SIDES = (32, 64)
"""Sides of the noise maps in pixels."""
INPUT_SIZE = 256
"""Side of both pictures in pixels."""
MAP_CHANNELS = {64: 32, 32: 64}
"""Channels of the trunk's maps, by side."""
WIDTH = 64
SCALE = 0.1
"""Factor of the last layers, so that the first steps of training change pictures little."""


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; it starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, S, S) → (B, channels, S, S)."""
        inner = F.leaky_relu(self.conv1(F.leaky_relu(self.norm(x), LEAKY_SLOPE)), LEAKY_SLOPE)
        return x + self.conv2(inner)  # type: ignore[no-any-return]


class NoiseHead(nn.Module):
    """Two pictures and the trunk's maps of both → offsets of noise maps, which are 0 before training."""

    def __init__(self) -> None:
        super().__init__()
        pixels = 3 * (INPUT_SIZE // 64) ** 2
        self.fine = nn.Conv2d(2 * (pixels + MAP_CHANNELS[64]), WIDTH, 3, padding=1)
        self.coarse = nn.Conv2d(WIDTH + 2 * MAP_CHANNELS[32], WIDTH, 3, padding=1)
        self.coarse_blocks = nn.Sequential(*(ResidualBlock(WIDTH) for _ in range(2)))
        self.fine_blocks = nn.Sequential(*(ResidualBlock(WIDTH) for _ in range(3)))
        self.out = nn.ModuleDict({str(side): nn.Conv2d(WIDTH, 1, 3, padding=1) for side in SIDES})
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, image: Tensor, maps: dict[int, Tensor], shown: Tensor, shown_maps: dict[int, Tensor]
    ) -> dict[int, Tensor]:
        """Predicts offsets, {side: (B, 1, side, side)}.

        image, shown (B, 3, 256, 256) in [−1, 1]: photo and preview. maps, shown_maps: the trunk's maps of each, of
        which (B, 32, 64, 64) and (B, 64, 32, 32) are used.
        """
        pixels = torch.cat([F.pixel_unshuffle(picture, INPUT_SIZE // 64) for picture in (image, image - shown)], dim=1)
        fine = self.fine(torch.cat([pixels, maps[64], maps[64] - shown_maps[64]], dim=1))
        coarse = torch.cat([F.avg_pool2d(fine, 2), maps[32], maps[32] - shown_maps[32]], dim=1)
        coarse = self.coarse_blocks(self.coarse(coarse))
        fine = self.fine_blocks(fine + resize(coarse, 64))
        return {32: SCALE * self.out["32"](coarse), 64: SCALE * self.out["64"](fine)}
