"""Face parsing: which part of a face (`faces.parts`) each pixel of an aligned crop shows.

The network is a feature pyramid ("Feature Pyramid Networks for Object Detection", Lin et al., CVPR 2017) on residual
blocks ("Deep Residual Learning for Image Recognition", He et al., CVPR 2016).
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.faces.parts import PARTS
from oodinv.models.ops import average_resize

INPUT_SIZE = 256
"""Side of the network's input in pixels."""
MAP_SIZE = 128
"""Side of its label maps."""
CELEBAMASK = (0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 8, 8, 9, 10, 11, 12, 13, 14)
"""Index in PARTS of each class of CelebAMask-HQ."""
WIDTHS = (24, 32, 48, 64, 96)
"""Channels of the residual blocks of 128, 64, 32, 16 and 8 px."""
PYRAMID = 32
"""Channels of the pyramid."""


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, and batch norm."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv_norm(inputs, outputs, stride=stride)
        self.conv2 = conv_norm(outputs, outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, S, S) → (B, outputs, S / stride, S / stride)."""
        return F.relu(self.shortcut(x) + self.conv2(F.relu(self.conv1(x))))


class FaceParser(nn.Module):
    """Residual blocks from 128 down to 8 px, and a pyramid back up to 128 px."""

    kind: ClassVar[str] = "face_parser"

    def __init__(self, widths: Sequence[int] = WIDTHS, pyramid: int = PYRAMID, classes: int = len(PARTS)) -> None:
        super().__init__()
        self.widths, self.classes = tuple(widths), classes
        self.stem = conv_norm(3, widths[0], stride=2)
        pairs = zip((widths[0], *widths), widths, strict=False)
        self.blocks = nn.ModuleList([ResidualBlock(i, o, 1 if n == 0 else 2) for n, (i, o) in enumerate(pairs)])
        self.lateral = nn.ModuleList([nn.Conv2d(width, pyramid, 1) for width in widths])
        self.merge = nn.ModuleList([conv_norm(pyramid, pyramid) for _ in widths[:-1]])
        self.classify = nn.Conv2d(pyramid, classes, 3, padding=1)

    def config(self) -> dict[str, object]:
        """Arguments of the constructor."""
        return {"widths": list(self.widths), "pyramid": self.classify.in_channels, "classes": self.classes}

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 3, 256, 256) in [−1, 1] → logits (B, classes, 128, 128)."""
        x, found = F.relu(self.stem(image)), []
        for block, lateral in zip(self.blocks, self.lateral, strict=True):
            x = block(x)
            found.append(lateral(x))
        x = found.pop()
        for merge in reversed(self.merge):
            finer = found.pop()
            enlarged = F.interpolate(x, size=finer.shape[-2:], mode="bilinear", align_corners=False)
            x = F.relu(merge(finer + enlarged))
        return self.classify(x)  # type: ignore[no-any-return]

    @torch.no_grad()
    def parse(self, image: Tensor) -> Tensor:
        """Finds the parts of aligned crops (B, 3, S, S) in [−1, 1]. → indices in PARTS, uint8 (B, 128, 128).

        The probabilities of each crop and its mirror image are averaged.
        """
        small = average_resize(image, INPUT_SIZE)
        probabilities = self(small).softmax(dim=1) + self(small.flip(3)).softmax(dim=1).flip(3)
        parts: Tensor = probabilities.argmax(dim=1).to(torch.uint8)
        return parts
