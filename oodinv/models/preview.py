"""Preview heads: small pictures from the middle of a generator, at a fraction of the whole one's cost."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.generators.base import Generator
from oodinv.models.generators.mobilestylegan import SeparableConv, ToImage
from oodinv.models.ops import LEAKY_SLOPE


class NoiseAndBias(nn.Module):
    """Noise map and bias of a convolution, and leaky ReLU without gain."""

    noise: Tensor

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("noise", torch.zeros(size, size))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, size, size) → same."""
        return F.leaky_relu(x + (self.bias[:, None, None] + self.noise).to(x.dtype), LEAKY_SLOPE)


class PreviewHead(nn.Module):
    """Ends a generator inside a block: a separable convolution, and a layer to a picture of twice the block's side.

    key: block of which it takes the first half (`Generator.advance`), so that features can be aligned before it.
    channels: of that block. row: row of w_plus that modulates its convolution; the next one modulates the last layer.
    """

    def __init__(self, key: int, channels: int, row: int, *, w_dim: int = 512) -> None:
        super().__init__()
        self.key, self.row = key, row
        self.conv1 = NoiseAndBias(channels, key)
        self.conv2 = SeparableConv(channels, channels, key, w_dim)
        self.to_image = ToImage(channels, w_dim)

    def config(self) -> dict[str, int]:
        """Arguments of the constructor."""
        affine = self.to_image.affine
        return {"key": self.key, "channels": affine.out_features, "row": self.row, "w_dim": affine.in_features}

    def forward(self, x: Tensor, w_plus: Tensor) -> Tensor:
        """x (B, C, S, S), w_plus (B, num_ws, w_dim) → picture (B, 3, 2S, 2S) in about [−1, 1], float32."""
        x = self.conv2.finish(self.conv2.convolve(self.conv1(x), w_plus[:, self.row]), "fixed")
        return self.to_image(x, w_plus[:, self.row + 1])  # type: ignore[no-any-return]


def head_for(generator: Generator, key: int) -> PreviewHead:
    """Makes an untrained head for a block; it starts from the block's own layers if they have the same shapes."""
    row = min(2 * list(generator.taps).index(key) + 2, generator.num_ws - 2)
    head = PreviewHead(key, generator.taps[key].channels, row, w_dim=generator.w_dim)
    own, wanted = generator.state_dict(), head.state_dict()
    named = {name: own[f"blocks.{key}.{name}"] for name in wanted if f"blocks.{key}.{name}" in own}
    head.load_state_dict({name: t for name, t in named.items() if t.shape == wanted[name].shape}, strict=False)
    return head
