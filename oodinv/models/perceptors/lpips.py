"""LPIPS, version 0.1: a distance between images in the features of AlexNet or VGG16.

Source: "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (Zhang et al., CVPR 2018).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.ops import resize

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


@dataclass(frozen=True)
class Convolution:
    """One convolution of a backbone, with the pooling before it and a flag for a tap after it."""

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool_before: tuple[int, int] | None = None
    tap: bool = False


ALEXNET = (
    Convolution(64, kernel=11, stride=4, padding=2, tap=True),
    Convolution(192, kernel=5, padding=2, pool_before=(3, 2), tap=True),
    Convolution(384, pool_before=(3, 2), tap=True),
    Convolution(256, tap=True),
    Convolution(256, tap=True),
)
VGG16 = (
    Convolution(64),
    Convolution(64, tap=True),
    Convolution(128, pool_before=(2, 2)),
    Convolution(128, tap=True),
    Convolution(256, pool_before=(2, 2)),
    Convolution(256),
    Convolution(256, tap=True),
    Convolution(512, pool_before=(2, 2)),
    Convolution(512),
    Convolution(512, tap=True),
    Convolution(512, pool_before=(2, 2)),
    Convolution(512),
    Convolution(512, tap=True),
)
BACKBONES: dict[str, tuple[Convolution, ...]] = {"alexnet": ALEXNET, "vgg16": VGG16}


PERCEPTUAL_SIZE = 128
"""Smaller images are enlarged to this size (px) for losses: AlexNet's first layer has stride 4."""


def perceptual_size(image: Tensor) -> Tensor:
    """Enlarges images below `PERCEPTUAL_SIZE` bilinearly. (B, 3, S, S) → (B, 3, max(S, 128), …)."""
    return resize(image, PERCEPTUAL_SIZE) if image.shape[-1] < PERCEPTUAL_SIZE else image


def unit_length(x: Tensor, eps: float = 1e-10) -> Tensor:
    """Divides each pixel's feature vector by its length. (B, C, H, W) → (B, C, H, W)."""
    length: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / (length + eps)


class Lpips(nn.Module):
    """Feature backbone (a key of BACKBONES) and learned weights for each of its five taps."""

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.plan = BACKBONES[backbone]
        inputs = [3, *(c.channels for c in self.plan[:-1])]
        self.convs = nn.ModuleList(
            nn.Conv2d(i, c.channels, c.kernel, c.stride, c.padding) for i, c in zip(inputs, self.plan, strict=True)
        )
        self.heads = nn.ParameterList(nn.Parameter(torch.ones(c.channels)) for c in self.plan if c.tap)
        self.register_buffer("shift", torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE)[:, None, None], persistent=False)

    def features(self, image: Tensor) -> list[Tensor]:
        """image (B, 3, H, W) in [−1, 1] → the taps, normalised to unit length per pixel."""
        x = (image - self.shift) / self.scale
        taps = []
        for conv, plan in zip(self.convs, self.plan, strict=True):
            if plan.pool_before is not None:
                x = F.max_pool2d(x, *plan.pool_before)
            x = F.relu(conv(x))
            if plan.tap:
                taps.append(unit_length(x))
        return taps

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Distance between two lists of taps → (B,)."""
        terms = [
            ((x - y).square() * head[:, None, None]).sum(dim=1).mean(dim=(1, 2))
            for x, y, head in zip(a, b, self.heads, strict=True)
        ]
        return torch.stack(terms).sum(dim=0)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b (B, 3, H, W) in [−1, 1] → (B,), 0 for equal images."""
        return self.distance(self.features(a), self.features(b))
