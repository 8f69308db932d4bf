"""The convolutions of VGG19, whose features the perceptual and the style loss compare.

Source: "Very Deep Convolutional Networks for Large-Scale Image Recognition" (Simonyan and Zisserman 2015).
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's pictures in [0, 1], on which the network was trained."""

GROUPS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and number of convolutions between poolings."""

TAPS = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")
"""The last convolution of each group."""


class Vgg19(nn.Module):
    """The sixteen convolutions; the classifier is left out."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        widths = [channels for channels, count in GROUPS for _ in range(count)]
        inputs = [3, *widths[:-1]]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(inputs, widths, strict=True))
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """image (B, 3, H, W) in [−1, 1], H, W ≥ 16 → the taps before ReLU, (B, C, H / 2ⁿ, W / 2ⁿ), n = 0 … 4."""
        x = ((image + 1) / 2 - self.mean) / self.deviation
        taps: list[Tensor] = []
        convs = iter(self.convs)
        for _, count in GROUPS:
            if taps:
                x = F.max_pool2d(x, 2)
            for number, conv in zip(range(count), convs, strict=False):
                x = conv(x)
                if number == count - 1:
                    taps.append(x)
                x = F.relu(x)
        return taps
