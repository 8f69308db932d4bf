"""Predicts a photo's noise, which codes leave out, from the photo and a preview of its codes.

Latent codes determine what a generator draws, noise maps where fine details such as single hairs lie; each map has a
strength for every channel ("A Style-Based Generator Architecture for Generative Adversarial Networks", Karras et al.,
CVPR 2019, section 3.2). One map is the same for all channels of MobileStyleGAN; several with strengths of their own are
an offset of the features, of low rank ("A Style-Based GAN Encoder for High Fidelity Reconstruction of Images and
Videos", Yao et al., ECCV 2022, predicts the features themselves).
"""

from collections.abc import Sequence

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
MAPS = 25
"""Number of noise maps at each side."""
STRENGTH = 0.05
"""Standard deviation of the strengths before training."""


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
    """Two pictures and the trunk's maps of both → noise of every channel, which is 0 before training.

    channels: numbers of channels of the generator's features at each of `SIDES`.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        pixels = 3 * (INPUT_SIZE // 64) ** 2
        self.fine = nn.Conv2d(2 * (pixels + MAP_CHANNELS[64]), WIDTH, 3, padding=1)
        self.coarse = nn.Conv2d(WIDTH + 2 * MAP_CHANNELS[32], WIDTH, 3, padding=1)
        self.coarse_blocks = nn.Sequential(*(ResidualBlock(WIDTH) for _ in range(2)))
        self.fine_blocks = nn.Sequential(*(ResidualBlock(WIDTH) for _ in range(3)))
        self.out = nn.ModuleDict({str(side): nn.Conv2d(WIDTH, MAPS, 3, padding=1) for side in SIDES})
        self.strengths = nn.ParameterDict(
            {str(side): STRENGTH * torch.randn(count, MAPS) for side, count in zip(SIDES, channels, strict=True)}
        )
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, image: Tensor, maps: dict[int, Tensor], shown: Tensor, shown_maps: dict[int, Tensor]
    ) -> dict[int, Tensor]:
        """Predicts noise, {side: (B, channels, side, side)}.

        image, shown (B, 3, 256, 256) in [−1, 1]: photo and preview. maps, shown_maps: the trunk's maps of each, of
        which (B, 32, 64, 64) and (B, 64, 32, 32) are used.
        """
        pixels = torch.cat([F.pixel_unshuffle(picture, INPUT_SIZE // 64) for picture in (image, image - shown)], dim=1)
        fine = self.fine(torch.cat([pixels, maps[64], maps[64] - shown_maps[64]], dim=1))
        coarse = torch.cat([F.avg_pool2d(fine, 2), maps[32], maps[32] - shown_maps[32]], dim=1)
        coarse = self.coarse_blocks(self.coarse(coarse))
        fine = self.fine_blocks(fine + resize(coarse, 64))
        drawn = {32: self.out["32"](coarse), 64: self.out["64"](fine)}
        return {side: torch.einsum("cm,bmhw->bchw", self.strengths[str(side)], x) for side, x in drawn.items()}
