"""An encoder on dlib's face recognition ResNet, for generators of any size, in one or several passes.

It predicts one latent in whitened coordinates of W, and small offsets of each row. From the second pass on it also
looks at a preview of the codes so far, and corrects them ("ReStyle: A Residual-Based StyleGAN Encoder via Iterative
Refinement", Alaluf et al., ICCV 2021). An optional head predicts noise.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import PositiveInt
from torch import Tensor, nn

from oodinv.models.encoders.base import Encoder, EncoderCard, EncoderPlan, Encoding
from oodinv.models.encoders.dlib_trunk import DlibTrunk
from oodinv.models.encoders.noise_head import SIDES, NoiseHead
from oodinv.models.generators.base import Generator, whiten, whitening
from oodinv.models.naming import Settings, State
from oodinv.models.ops import LEAKY_SLOPE, average_resize, resize
from oodinv.models.preview import PreviewHead, head_for
from oodinv.models.synthesis import synthesize

INPUT_SIZE = 256
"""Side of the input in pixels."""
GRID = 8
"""Side of the feature grid that the head reads."""
GRID_CHANNELS = 64 + 4 * 128 + 256 + 256
"""Channels of the grid: the maps of 32 px, pooled, 16 px, unshuffled (hence 4 ·), 8 px, and 4 px, enlarged."""
SQUEEZED = 64
OFFSET_SCALE = 0.1
TAPS = {256: 3 + 32, 128: 32, 64: 32, 32: 64, 16: 128, 8: 256}
"""Feature maps for SAMM: side and channels. Those of 256 px are the input itself and the enlarged maps of 128 px."""


class FaceResnetCard(EncoderCard):
    """The encoder on dlib's face ResNet, in a number of passes."""

    passes: PositiveInt = 3


class FaceResnetPlan(EncoderPlan):
    """Settings of a new encoder on dlib's face ResNet.

    passes: number of passes. hidden: width of the hidden layers. preview: block of the generator whose previews it
    looks at. noise: whether it has a head that predicts noise maps.
    """

    passes: PositiveInt = 3
    hidden: PositiveInt = 768
    preview: PositiveInt = 64
    noise: bool = False


@dataclass(frozen=True)
class WhitenedCodes:
    """Codes in whitened coordinates of W. base (B, w_dim); offsets (B, num_ws, w_dim) of the rows from it."""

    base: Tensor
    offsets: Tensor


class FaceResnetEncoder(Encoder):
    """Image → w_plus, and feature maps of 8 to 256 px.

    axes (w_dim, w_dim): rows are principal axes of W times their standard deviations.
    """

    kind = "face_resnet"
    mark = r"squeeze_preview\.weight"
    card, plan = FaceResnetCard, FaceResnetPlan

    w_avg: Tensor
    axes: Tensor
    first_preview: Tensor | None
    """Grid of the average latent's preview, which the first pass compares with; None until `prepared`."""

    def __init__(
        self,
        *,
        num_ws: int,
        w_dim: int = 512,
        passes: int = 3,
        hidden: int = 768,
        preview: int = 64,
        preview_channels: int = 512,
        preview_row: int = 8,
        noise_channels: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.num_ws, self.w_dim, self.passes = num_ws, w_dim, passes
        self.tap_channels = dict(TAPS)
        self.trunk = DlibTrunk()
        self.squeeze = nn.Conv2d(GRID_CHANNELS, SQUEEZED, 1)
        self.squeeze_preview = nn.Conv2d(GRID_CHANNELS, SQUEEZED, 1)
        self.norm = nn.LayerNorm(SQUEEZED * GRID**2)
        self.fc1 = nn.Linear(SQUEEZED * GRID**2, hidden)
        self.known = nn.Linear(w_dim, hidden)
        self.norm1 = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.norm2 = nn.LayerNorm(hidden)
        self.base = nn.Linear(hidden, w_dim)
        self.offsets = nn.Linear(hidden, num_ws * w_dim)
        for layer in (self.squeeze_preview, self.known, self.base, self.offsets):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.head = PreviewHead(preview, preview_channels, preview_row, w_dim=w_dim)
        self.noise_head = NoiseHead(noise_channels) if noise_channels else None
        self.noise_channels = dict(zip(SIDES, noise_channels, strict=True)) if noise_channels else {}
        self.register_buffer("w_avg", torch.zeros(w_dim))
        self.register_buffer("axes", torch.eye(w_dim))
        self.register_buffer("first_preview", None, persistent=False)

    # Codes

    def w_plus(self, codes: WhitenedCodes) -> Tensor:
        """Codes → w_plus (B, num_ws, w_dim)."""
        return self.w_avg + (codes.base[:, None] + codes.offsets) @ self.axes

    def first_codes(self, batch: int) -> WhitenedCodes:
        """The average latent, from which the first pass starts."""
        zeros = self.w_avg.new_zeros
        return WhitenedCodes(zeros(batch, self.w_dim), zeros(batch, self.num_ws, self.w_dim))

    def previewed(self, generator: Generator, codes: WhitenedCodes) -> Tensor:
        """Preview of codes at the resolution that a pass compares with the photo, (B, 3, 256, 256) in [−1, 1]."""
        return resize(synthesize(generator, self.w_plus(codes), head=self.head).clamp(-1, 1), INPUT_SIZE)

    def correct(self, grid: Tensor, shown: Tensor, codes: WhitenedCodes) -> WhitenedCodes:
        """Corrects codes by one pass. grid: that of the images; shown (B, 3, 256, 256): preview of current codes."""
        with torch.no_grad():
            preview_grid = self.grid(self.trunk.maps(shown))
        return self._corrected(grid, preview_grid, codes)

    def _corrected(self, grid: Tensor, preview_grid: Tensor, codes: WhitenedCodes) -> WhitenedCodes:
        """`correct` from the grid of the preview's maps; the batch of the preview and the codes may be 1."""
        x = self.squeeze(grid) + self.squeeze_preview(preview_grid)
        x = self.fc1(self.norm(x.flatten(1))) + self.known(codes.base)
        x = F.leaky_relu(self.norm1(x), LEAKY_SLOPE)
        x = x + F.leaky_relu(self.norm2(self.fc2(x)), LEAKY_SLOPE)
        offsets = self.offsets(x).float().unflatten(1, (self.num_ws, self.w_dim)) * OFFSET_SCALE
        return WhitenedCodes(codes.base + self.base(x).float(), codes.offsets + offsets)

    @staticmethod
    def grid(maps: dict[int, Tensor]) -> Tensor:
        """The maps of 32, 16, 8 and 4 px on one grid, (B, GRID_CHANNELS, 8, 8)."""
        enlarged = F.interpolate(maps[4], size=(GRID, GRID), mode="bilinear", align_corners=False)
        return torch.cat([F.avg_pool2d(maps[32], 4), F.pixel_unshuffle(maps[16], 2), maps[8], enlarged], dim=1)

    # Noise

    def noise(self, image: Tensor, maps: dict[int, Tensor], shown: Tensor) -> dict[int, Tensor]:
        """Predicts the photos' noise (see `PhotoNoise`); empty without a noise head.

        image, shown (B, 3, 256, 256): photos and previews of their final codes. maps: the photos' `trunk.maps`.
        """
        if self.noise_head is None:
            return {}
        with torch.no_grad():
            shown_maps = self.trunk.maps(shown)
        offsets: dict[int, Tensor] = self.noise_head(image, maps, shown, shown_maps)
        return offsets

    # Interface of encoders

    def encode(self, image: Tensor, generator: Generator) -> Encoding:
        """All passes. image (B, 3, H, W) in [−1, 1] → w_plus, features of the image, and noise if there is a head."""
        small = average_resize(image, INPUT_SIZE)
        maps = self.trunk.maps(small)
        grid, first = self.grid(maps), self._first_grid(generator)
        codes = self._corrected(grid, first, self.first_codes(1))
        for _ in range(self.passes - 1):
            codes = self.correct(grid, self.previewed(generator, codes), codes)
        return self._encoding(generator, small, maps, codes)

    def _encoding(self, generator: Generator, image: Tensor, maps: dict[int, Tensor], codes: WhitenedCodes) -> Encoding:
        noise: dict[int, Tensor] = {}
        if self.noise_head is not None:
            noise = self.noise(image, maps, self.previewed(generator, codes))
        return Encoding(self.w_plus(codes), features(image, maps), noise)

    def _first_grid(self, generator: Generator) -> Tensor:
        """Grid of the first pass's preview, (1, GRID_CHANNELS, 8, 8): it is the same for all images."""
        if self.first_preview is not None:
            return self.first_preview
        with torch.no_grad():
            return self.grid(self.trunk.maps(self.previewed(generator, self.first_codes(1))))

    def prepared(self, generator: Generator) -> Self:
        """A copy that shares all weights and knows the first pass's preview."""
        encoder = copy(self)
        encoder._buffers = self._buffers | {"first_preview": self._first_grid(generator)}
        return encoder

    def refine(self, image: Tensor, w_plus: Tensor, generator: Generator) -> Encoding:
        """Runs one pass on image (B, 3, H, W), from w_plus (B, num_ws, w_dim); the mean of its rows is the base."""
        whitened = whiten(w_plus - self.w_avg, self.axes)
        base = whitened.mean(dim=1)
        codes = WhitenedCodes(base, whitened - base[:, None])
        small = average_resize(image, INPUT_SIZE)
        maps = self.trunk.maps(small)
        codes = self.correct(self.grid(maps), self.previewed(generator, codes), codes)
        return self._encoding(generator, small, maps, codes)

    def config(self) -> dict[str, Any]:
        """Shapes, passes, the preview's block, and the channels of the noise."""
        return {
            **super().config(),
            "hidden": self.fc1.out_features,
            "preview": self.head.key,
            "preview_channels": self.head.config()["channels"],
            "preview_row": self.head.row,
            "noise_channels": list(self.noise_channels.values()),
        }

    def noise_part(self) -> nn.Module | None:
        """The noise head, if there is one."""
        return self.noise_head

    @classmethod
    def planned(cls, plan: EncoderPlan, generator: Generator) -> Self:
        """An encoder with random weights; its coordinates are those of the generator's W."""
        assert isinstance(plan, FaceResnetPlan)
        head = head_for(generator, plan.preview)
        encoder = cls(
            num_ws=generator.num_ws,
            w_dim=generator.w_dim,
            passes=plan.passes,
            hidden=plan.hidden,
            preview=head.key,
            preview_channels=head.config()["channels"],
            preview_row=head.row,
            noise_channels=[generator.taps[side].channels for side in SIDES] if plan.noise else (),
        )
        with torch.no_grad():
            encoder.w_avg.copy_(generator.w_avg)
            encoder.axes.copy_(whitening(generator))
        return encoder

    @classmethod
    def arguments(cls, state: State, settings: Settings) -> dict[str, Any]:  # noqa: ARG003
        """Raises ValueError: these encoders come in oodinv's own files only."""
        raise ValueError("is not a file of oodinv; face_resnet encoders have no other format")


def features(image: Tensor, maps: dict[int, Tensor]) -> dict[int, Tensor]:
    """Feature maps for SAMM of images (B, 3, 256, 256) and their trunk's maps → {side: (B, TAPS[side], side, side)}."""
    finest = torch.cat([image, resize(maps[128], INPUT_SIZE)], dim=1)
    return {side: finest if side == INPUT_SIZE else maps[side] for side in TAPS}
