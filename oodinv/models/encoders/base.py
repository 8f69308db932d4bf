"""What every encoder gives, and what it must be able to do."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from oodinv.models.generators.stylegan2 import Generator


@dataclass(frozen=True)
class Encoding:
    """An encoder's view of a batch of images.

    w_plus (B, num_ws, w_dim); features {size: (B, C_tap, size, size)}, as they leave the backbone: SAMM
    projects them to the generator's channels.
    """

    w_plus: Tensor
    features: dict[int, Tensor]


class Encoder(Protocol):
    """An encoder network; `tap_channels` maps each size of its features to their channel count."""

    tap_channels: dict[int, int]

    def encode(self, image: Tensor, generator: Generator) -> Encoding:
        """image (B, 3, H, W) in [−1, 1] → Encoding."""
        ...
