"""Previews: small pictures from the features of an inner block, at a fraction of the whole generator's cost."""

import torch
from torch import Tensor, nn

from oodinv.models.generators.base import Generator
from oodinv.models.generators.mobilestylegan import COLOURS, WAVELETS, idwt
from oodinv.models.synthesis import features_after


class PreviewHead(nn.Module):
    """A modulated 1 × 1 convolution from features to Haar coefficients of a picture of twice their side.

    key: the block whose output it takes. row: the row of w_plus that modulates it, through `rank` dimensions.
    """

    def __init__(self, key: int, channels: int, row: int, *, w_dim: int = 512, rank: int = 16) -> None:
        super().__init__()
        self.key, self.row = key, row
        coefficients = COLOURS * WAVELETS
        self.down = nn.Linear(w_dim, rank)
        self.up = nn.Linear(rank, channels)
        self.shift = nn.Linear(rank, coefficients)
        self.weight = nn.Parameter(torch.randn(coefficients, channels) * 0.01)
        self.bias = nn.Parameter(torch.zeros(coefficients))
        for layer in (self.up, self.shift):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def config(self) -> dict[str, int]:
        """Arguments of the constructor."""
        return {
            "key": self.key,
            "channels": self.up.out_features,
            "row": self.row,
            "w_dim": self.down.in_features,
            "rank": self.down.out_features,
        }

    def coefficients(self, features: Tensor, w: Tensor) -> Tensor:
        """features (B, C, N) at N places, w (B, w_dim) → Haar coefficients (B, 12, N)."""
        low = self.down(w)
        kernel = (self.weight * (1 + self.up(low))[:, None]).to(features.dtype)
        shift = (self.shift(low) + self.bias)[:, :, None]
        found: Tensor = torch.bmm(kernel, features) + shift.to(features.dtype)
        return found

    def forward(self, features: Tensor, w_plus: Tensor) -> Tensor:
        """features (B, C, S, S), w_plus (B, num_ws, w_dim) → picture (B, 3, 2S, 2S) in about [−1, 1], float32."""
        flat = self.coefficients(features.flatten(2), w_plus[:, self.row])
        return idwt(flat.unflatten(2, features.shape[2:]).float())


def head_for(generator: Generator, key: int) -> PreviewHead:
    """An untrained head for a block; it is modulated by the row of w_plus that follows those of the block."""
    row = min(2 * list(generator.taps).index(key) + 3, generator.num_ws - 1)
    return PreviewHead(key, generator.taps[key].channels, row, w_dim=generator.w_dim)


def preview(generator: Generator, head: PreviewHead, w_plus: Tensor) -> Tensor:
    """Runs the generator up to the head's block, with its fixed noise. w_plus (B, num_ws, w_dim) → (B, 3, 2S, 2S)."""
    return head(features_after(generator, w_plus, head.key), w_plus)  # type: ignore[no-any-return]


def dwt(y: Tensor) -> Tensor:
    """Haar transform, the inverse of `idwt`. (B, C, 2H, 2W) → (B, 4C, H, W)"""
    a, b, c, d = y[..., ::2, ::2], y[..., ::2, 1::2], y[..., 1::2, ::2], y[..., 1::2, 1::2]
    low, lh, hl, hh = a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d
    return torch.cat([low, torch.stack([lh, hl, hh], dim=2).flatten(1, 2)], dim=1) / 2
