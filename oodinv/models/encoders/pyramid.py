"""The project's own small encoder: a residual pyramid for generators of 64 to 256 px.

It gives a w_plus from the features of its coarse stages together, and its feature map at every size for SAMM.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import PositiveInt
from torch import Tensor, nn

from oodinv.models.encoders.base import Encoder, EncoderPlan, Encoding
from oodinv.models.generators.base import Generator
from oodinv.models.naming import Settings, State
from oodinv.models.ops import LEAKY_SLOPE, resize

HEAD_GRID = 4
HEAD_CHANNELS = 64
HEAD_SIZES = (4, 8, 16)


def convolve(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3 × 3 convolution, batch norm, leaky ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(LEAKY_SLOPE),
    )


class DownStage(nn.Module):
    """Halves the size: two convolutions beside an averaged 1 × 1 shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = convolve(inputs, inputs)
        self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, H, W) → (B, O, H/2, W/2)."""
        return F.leaky_relu(self.down(self.conv(x)) + self.shortcut(F.avg_pool2d(x, 2)), LEAKY_SLOPE)


def halving(size: int) -> list[int]:
    """size, size / 2, …, 4."""
    return [size >> n for n in range(size.bit_length() - HEAD_GRID.bit_length() + 1)]


class PyramidPlan(EncoderPlan):
    """A pyramid encoder to train; `channels` of each size from the picture's down to 4."""

    channels: dict[int, PositiveInt]
    hidden: PositiveInt = 512

    def check(self, size: int) -> None:
        """Raises ValueError if `channels` has other sizes."""
        if sorted(self.channels) != halving(size)[::-1]:
            raise ValueError(
                f"encoder.channels must have one entry for each of the sizes {halving(size)[::-1]}, it has "
                f"{sorted(self.channels)}"
            )


class PyramidEncoder(Encoder):
    """image → w_plus and one feature map per size.

    `channels` maps each size from the image's down to 4 to its channel count.
    """

    kind = "pyramid"
    mark = r"squeeze\.weight"
    plan = PyramidPlan

    def __init__(self, size: int, channels: Mapping[int, int], *, num_ws: int, w_dim: int, hidden: int) -> None:
        super().__init__()
        sizes = sorted(channels, reverse=True)
        if sizes != [size >> n for n in range(len(sizes))] or sizes[-1] != HEAD_GRID:
            raise ValueError(f"the encoder's sizes must halve from {size} to {HEAD_GRID}, not {sizes}")
        self.size, self.num_ws, self.w_dim = size, num_ws, w_dim
        self.tap_channels = dict(channels)
        self.stem = nn.Sequential(convolve(3, channels[size]), convolve(channels[size], channels[size]))
        self.stages = nn.ModuleDict({str(s // 2): DownStage(channels[s], channels[s // 2]) for s in sizes[:-1]})
        self.squeeze = nn.Conv2d(sum(channels[s] for s in HEAD_SIZES), HEAD_CHANNELS, 1)
        self.hidden = nn.Linear(HEAD_CHANNELS * HEAD_GRID**2, hidden)
        self.head = nn.Linear(hidden, num_ws * w_dim)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def taps(self, image: Tensor) -> dict[int, Tensor]:
        """image (B, 3, H, W) in [−1, 1] → {size: (B, C, size, size)}."""
        x = self.stem(resize(image, self.size))
        features = {self.size: x}
        for size, stage in self.stages.items():
            x = features[int(size)] = stage(x)
        return features

    def latents(self, features: Mapping[int, Tensor]) -> Tensor:
        """Taps → w_plus (B, num_ws, w_dim)."""
        pooled = [F.adaptive_avg_pool2d(features[s], HEAD_GRID) for s in HEAD_SIZES]
        x = F.leaky_relu(self.squeeze(torch.cat(pooled, dim=1)), LEAKY_SLOPE)
        x = F.leaky_relu(self.hidden(x.flatten(1)), LEAKY_SLOPE)
        w_plus: Tensor = self.w_avg + self.head(x).reshape(-1, self.num_ws, self.w_dim)
        return w_plus

    def forward(self, image: Tensor) -> Encoding:
        """image (B, 3, H, W) in [−1, 1] → w_plus and features."""
        features = self.taps(image)
        return Encoding(w_plus=self.latents(features), features=features)

    def refine(self, image: Tensor, w_plus: Tensor, generator: Generator) -> Encoding:  # noqa: ARG002
        """Same as `forward`: a single pass that needs neither codes nor generator."""
        return self(image)  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        """Sizes, channels and widths."""
        return {
            "size": self.size,
            "channels": self.tap_channels,
            "num_ws": self.num_ws,
            "w_dim": self.w_dim,
            "hidden": self.hidden.out_features,
        }

    @classmethod
    def sizes_for(cls, generator: Generator) -> dict[str, Any]:
        """It sees pictures of the generator's size."""
        return {"size": generator.size, **super().sizes_for(generator)}

    @classmethod
    def arguments(cls, state: State, settings: Settings) -> dict[str, Any]:  # noqa: ARG003
        """Raises ValueError: pyramid encoders come in oodinv's own files only."""
        raise ValueError("is not a file of oodinv; pyramid encoders have no other format")
