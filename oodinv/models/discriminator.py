"""The StyleGAN2 discriminator, residual architecture, and a small one for latents.

Source: "Analyzing and Improving the Image Quality of StyleGAN" (Karras et al., CVPR 2020).
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.layers import EqualLinear, channel_plan, sizes_up_to
from oodinv.models.ops import blur, leaky


class EqualConv2d(nn.Module):
    """Convolution without bias and with equalised learning rate: W/√(I·k²) is applied at run time."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.gain = 1.0 / math.sqrt(inputs * kernel**2)

    def forward(self, x: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
        """(B, I, H, W) → (B, O, H', W')."""
        return F.conv2d(x, self.weight * self.gain, stride=stride, padding=padding)


class DiscriminatorBlock(nn.Module):
    """Two convolutions that halve the size, beside a filtered 1 × 1 shortcut; the sum is divided by √2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = EqualConv2d(inputs, inputs, 3)
        self.bias1 = nn.Parameter(torch.zeros(inputs))
        self.conv2 = EqualConv2d(inputs, outputs, 3)
        self.bias2 = nn.Parameter(torch.zeros(outputs))
        self.skip = EqualConv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) → (B, O, H/2, W/2)."""
        y = leaky(self.conv1(x, padding=1), self.bias1)
        y = leaky(self.conv2(blur(y, 2, 2), stride=2), self.bias2)
        shortcut: Tensor = self.skip(blur(x, 1, 1, stride=2))
        return (y + shortcut) / math.sqrt(2.0)


def append_batch_deviation(x: Tensor, group: int = 4, eps: float = 1e-8) -> Tensor:
    """Adds a channel with the mean standard deviation over groups of samples (minibatch discrimination).

    (B, C, H, W) → (B, C + 1, H, W). Samples n, n + B/group, … form a group; a batch not divisible by
    `group` is one group. Source: "Progressive growing of GANs" (Karras et al. 2018), section 3.
    """
    batch, channels, height, width = x.shape
    group = group if batch % group == 0 else batch
    y = x.float().reshape(group, -1, channels, height, width)
    deviation = (y.var(dim=0, unbiased=False) + eps).sqrt().mean(dim=(1, 2, 3), keepdim=True)
    channel = deviation.repeat(group, 1, height, width).to(x.dtype)
    return torch.cat([x, channel], dim=1)


class Discriminator(nn.Module):
    """Scores images: (B, 3, size, size) in [−1, 1] → (B,) logits, positive for real."""

    def __init__(self, size: int, channels: Mapping[int, int] | None = None) -> None:
        super().__init__()
        self.size = size
        self.channels = dict(channels) if channels is not None else channel_plan(size)
        sizes = sizes_up_to(size)[::-1]
        self.from_rgb = EqualConv2d(3, self.channels[size], 1)
        self.from_rgb_bias = nn.Parameter(torch.zeros(self.channels[size]))
        self.blocks = nn.ModuleDict(
            {str(s): DiscriminatorBlock(self.channels[s], self.channels[s // 2]) for s in sizes[:-1]}
        )
        last = self.channels[4]
        self.conv = EqualConv2d(last + 1, last, 3)
        self.bias = nn.Parameter(torch.zeros(last))
        self.hidden = EqualLinear(last * 16, last)
        self.score = EqualLinear(last, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, size, size) → (B,)."""
        x = leaky(self.from_rgb(image), self.from_rgb_bias)
        for block in self.blocks.values():
            x = block(x)
        x = leaky(self.conv(append_batch_deviation(x), padding=1), self.bias)
        x = leaky(self.hidden(x.flatten(1)))
        logits: Tensor = self.score(x).flatten().float()
        return logits


class LatentDiscriminator(nn.Module):
    """Distinguishes the mapping network's latents (positive logits) from an encoder's: (B, w_dim) → (B,).

    Source: "Designing an Encoder for StyleGAN Image Manipulation" (Tov et al., SIGGRAPH 2021), section 4.
    """

    def __init__(self, w_dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EqualLinear(w_dim, w_dim) for _ in range(layers))
        self.score = EqualLinear(w_dim, 1)

    def forward(self, w: Tensor) -> Tensor:
        """(B, w_dim) → (B,)."""
        for layer in self.layers:
            w = leaky(layer(w))
        return self.score(w).flatten().float()  # type: ignore[no-any-return]
