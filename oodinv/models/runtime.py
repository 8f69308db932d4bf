"""The interface of what runs a model's networks in place of PyTorch."""

from typing import Protocol

from torch import Tensor

from oodinv.models.encoders.base import Encoding
from oodinv.models.generators.base import Noise, PhotoNoise
from oodinv.models.samm import Alignment, AlignmentSource


class Runtime(Protocol):
    """Networks compiled for inference; results are float32, on the CPU, and agree with PyTorch's up to rounding."""

    @property
    def name(self) -> str:
        """Name of the backend, as manifests record it."""

    def encode(self, image: Tensor) -> Encoding:
        """As `Encoder.encode`, for images (B, 3, H, W) in [−1, 1]."""

    def synthesize(
        self, w_plus: Tensor, source: AlignmentSource | None, noise: Noise | PhotoNoise
    ) -> tuple[Tensor, dict[int, Alignment]]:
        """As `synthesis.synthesize_aligned`, for w_plus (B, num_ws, w_dim)."""
