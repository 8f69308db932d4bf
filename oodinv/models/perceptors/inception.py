"""InceptionV3 of FID's definition: the network of 2015-12-05, up to its last pooling.

It differs from the published architecture in its pooling: averages exclude padding, and the last block takes the
maximum. Sources: "Rethinking the Inception Architecture for Computer Vision" (Szegedy et al., CVPR 2016); the
port of its weights to PyTorch by pytorch-fid, whose names of units we use.
"""

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

FEATURES = 2048
CLASSES = 1008
"""Outputs of this network's classifier; torchvision's has 1000."""
INPUT_SIZE = 299

Pool = Literal["average", "max"]
Kernel = int | tuple[int, int]


class Unit(nn.Module):
    """Convolution without bias, batch norm, ReLU; padded so that a stride of 1 keeps the size, unless `valid`."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, stride: int = 1, *, valid: bool = False) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if valid else (height // 2, width // 2)
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H', W')."""
        return F.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Units by name; subclasses combine them. `chain` applies several in sequence."""

    def __init__(self, units: dict[str, Unit]) -> None:
        super().__init__()
        self.units = nn.ModuleDict(units)

    def chain(self, x: Tensor, *names: str) -> Tensor:
        """Applies the named units in sequence to x (B, C, H, W)."""
        for name in names:
            x = self.units[name](x)
        return x


def pooled(x: Tensor, pool: Pool) -> Tensor:
    """3 × 3 pooling that preserves the size; averages exclude padding. (B, C, H, W) → same."""
    if pool == "max":
        return F.max_pool2d(x, 3, stride=1, padding=1)
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class Wide(Block):
    """35 × 35 maps: 1 × 1, 5 × 5, two 3 × 3, and pooling side by side."""

    def __init__(self, inputs: int, from_pool: int) -> None:
        super().__init__(
            {
                "branch1x1": Unit(inputs, 64, 1),
                "branch5x5_1": Unit(inputs, 48, 1),
                "branch5x5_2": Unit(48, 64, 5),
                "branch3x3dbl_1": Unit(inputs, 64, 1),
                "branch3x3dbl_2": Unit(64, 96, 3),
                "branch3x3dbl_3": Unit(96, 96, 3),
                "branch_pool": Unit(inputs, from_pool, 1),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, 224 + from_pool, H, W)."""
        five = self.chain(x, "branch5x5_1", "branch5x5_2")
        three = self.chain(x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
        return torch.cat([self.chain(x, "branch1x1"), five, three, self.chain(pooled(x, "average"), "branch_pool")], 1)


class WideToMiddle(Block):
    """35 × 35 maps to 17 × 17."""

    def __init__(self, inputs: int) -> None:
        super().__init__(
            {
                "branch3x3": Unit(inputs, 384, 3, 2, valid=True),
                "branch3x3dbl_1": Unit(inputs, 64, 1),
                "branch3x3dbl_2": Unit(64, 96, 3),
                "branch3x3dbl_3": Unit(96, 96, 3, 2, valid=True),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, 480 + inputs, (H − 1) / 2, (W − 1) / 2)."""
        three = self.chain(x, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
        return torch.cat([self.chain(x, "branch3x3"), three, F.max_pool2d(x, 3, 2)], 1)


class Middle(Block):
    """17 × 17 maps: 7 × 7 convolutions split into rows and columns; `width` channels between them."""

    def __init__(self, inputs: int, width: int) -> None:
        row, column = (1, 7), (7, 1)
        super().__init__(
            {
                "branch1x1": Unit(inputs, 192, 1),
                "branch7x7_1": Unit(inputs, width, 1),
                "branch7x7_2": Unit(width, width, row),
                "branch7x7_3": Unit(width, 192, column),
                "branch7x7dbl_1": Unit(inputs, width, 1),
                "branch7x7dbl_2": Unit(width, width, column),
                "branch7x7dbl_3": Unit(width, width, row),
                "branch7x7dbl_4": Unit(width, width, column),
                "branch7x7dbl_5": Unit(width, 192, row),
                "branch_pool": Unit(inputs, 192, 1),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, 768, H, W)."""
        once = self.chain(x, *(f"branch7x7_{n}" for n in (1, 2, 3)))
        twice = self.chain(x, *(f"branch7x7dbl_{n}" for n in (1, 2, 3, 4, 5)))
        return torch.cat([self.chain(x, "branch1x1"), once, twice, self.chain(pooled(x, "average"), "branch_pool")], 1)


class MiddleToNarrow(Block):
    """17 × 17 maps to 8 × 8."""

    def __init__(self, inputs: int) -> None:
        super().__init__(
            {
                "branch3x3_1": Unit(inputs, 192, 1),
                "branch3x3_2": Unit(192, 320, 3, 2, valid=True),
                "branch7x7x3_1": Unit(inputs, 192, 1),
                "branch7x7x3_2": Unit(192, 192, (1, 7)),
                "branch7x7x3_3": Unit(192, 192, (7, 1)),
                "branch7x7x3_4": Unit(192, 192, 3, 2, valid=True),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, 512 + inputs, (H − 1) / 2, (W − 1) / 2)."""
        three = self.chain(x, "branch3x3_1", "branch3x3_2")
        seven = self.chain(x, *(f"branch7x7x3_{n}" for n in (1, 2, 3, 4)))
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)


class Narrow(Block):
    """8 × 8 maps: 3 × 3 convolutions whose last step is a row and a column side by side."""

    def __init__(self, inputs: int, pool: Pool) -> None:
        row, column = (1, 3), (3, 1)
        super().__init__(
            {
                "branch1x1": Unit(inputs, 320, 1),
                "branch3x3_1": Unit(inputs, 384, 1),
                "branch3x3_2a": Unit(384, 384, row),
                "branch3x3_2b": Unit(384, 384, column),
                "branch3x3dbl_1": Unit(inputs, 448, 1),
                "branch3x3dbl_2": Unit(448, 384, 3),
                "branch3x3dbl_3a": Unit(384, 384, row),
                "branch3x3dbl_3b": Unit(384, 384, column),
                "branch_pool": Unit(inputs, 192, 1),
            }
        )
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, 2048, H, W)."""
        once = self.chain(x, "branch3x3_1")
        twice = self.chain(x, "branch3x3dbl_1", "branch3x3dbl_2")
        parts = [self.chain(x, "branch1x1")]
        parts += [self.chain(once, name) for name in ("branch3x3_2a", "branch3x3_2b")]
        parts += [self.chain(twice, name) for name in ("branch3x3dbl_3a", "branch3x3dbl_3b")]
        return torch.cat([*parts, self.chain(pooled(x, self.pool), "branch_pool")], 1)


class Inception(nn.Module):
    """Picture → the 2,048 features of which FID compares mean and covariance."""

    def __init__(self) -> None:
        super().__init__()
        self.stem_1a = Unit(3, 32, 3, 2, valid=True)
        self.stem_2a = Unit(32, 32, 3, valid=True)
        self.stem_2b = Unit(32, 64, 3)
        self.stem_3b = Unit(64, 80, 1)
        self.stem_4a = Unit(80, 192, 3, valid=True)
        self.blocks = nn.ModuleDict(
            {
                "5b": Wide(192, 32),
                "5c": Wide(256, 64),
                "5d": Wide(288, 64),
                "6a": WideToMiddle(288),
                "6b": Middle(768, 128),
                "6c": Middle(768, 160),
                "6d": Middle(768, 160),
                "6e": Middle(768, 192),
                "7a": MiddleToNarrow(768),
                "7b": Narrow(1280, "average"),
                "7c": Narrow(2048, "max"),
            }
        )

    def forward(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W) in [−1, 1] → (B, 2048). Resized bilinearly to 299 px without anti-aliasing, as in FID."""
        x = F.interpolate(images, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", align_corners=False)
        x = F.max_pool2d(self.stem_2b(self.stem_2a(self.stem_1a(x))), 3, 2)
        x = F.max_pool2d(self.stem_4a(self.stem_3b(x)), 3, 2)
        for block in self.blocks.values():
            x = block(x)
        return x.mean(dim=(2, 3))
