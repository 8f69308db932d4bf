"""The convolutions of dlib's face recognition ResNet, with its scales folded in.

Source: dlib's `dnn_face_recognition_ex.cpp` and the network `dlib_face_recognition_resnet_model_v1` (King 2017, CC0).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

MEAN = (122.782, 117.001, 104.298)
"""Subtracted from RGB levels, before they are divided by 256."""
STAGES: tuple[tuple[int, int, bool], ...] = (
    *((32, 32, False),) * 3,
    (32, 64, True),
    *((64, 64, False),) * 3,
    (64, 128, True),
    *((128, 128, False),) * 2,
    (128, 256, True),
    *((256, 256, False),) * 2,
    (256, 256, True),
)
"""Input channels, output channels, and true if the side is halved, for each residual unit."""


class DlibUnit(nn.Module):
    """Residual unit: two 3 × 3 convolutions, beside the identity or 2 × 2 averages; new channels start at zero."""

    def __init__(self, inputs: int, outputs: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.a = nn.Conv2d(inputs, outputs, 3, 2 if halves else 1)
        self.b = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, *, padded: bool = True) -> Tensor:
        """(B, I, H, W) → (B, O, H/2, W/2) or (B, O, H, W). padded: as `DlibTrunk.maps` has it."""
        y = F.relu(self.a(F.pad(x, (1, 1, 1, 1)) if padded or not self.halves else x))
        y = self.b(y)
        if self.halves:
            x = F.avg_pool2d(x, 2)
            height, width = max(x.shape[2], y.shape[2]), max(x.shape[3], y.shape[3])
            x = F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, y.shape[1] - x.shape[1]))
            y = F.pad(y, (0, width - y.shape[3], 0, height - y.shape[2]))
        return F.relu(x + y)


class DlibTrunk(nn.Module):
    """The convolutions of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, 2)
        self.units = nn.ModuleList([DlibUnit(*stage) for stage in STAGES])

    def normalized(self, image: Tensor) -> Tensor:
        """image (B, 3, H, W) in [−1, 1] → the network's range."""
        return ((image + 1) * 127.5 - image.new_tensor(MEAN)[:, None, None]) / 256

    def maps(self, image: Tensor) -> dict[int, Tensor]:
        """Feature maps by their sides, with padded borders: halves of an even side are exact.

        image (B, 3, 256, 256) in [−1, 1] → {128: (B, 32, 128, 128), 64: 32, 32: 64, 16: 128, 8: 256, 4: 256}.
        """
        x = F.relu(self.stem(F.pad(self.normalized(image), (3, 3, 3, 3))))
        found = {x.shape[-1]: x}
        x = F.max_pool2d(x, 3, 2, 1)
        for unit in self.units:
            x = unit(x)
            found[x.shape[-1]] = x
        return found

    def pooled(self, image: Tensor) -> Tensor:
        """Means of the last maps as dlib computes them, without padding. (B, 3, 150, 150) in [−1, 1] → (B, 256)."""
        x = F.max_pool2d(F.relu(self.stem(self.normalized(image))), 3, 2)
        for unit in self.units:
            x = unit(x, padded=False)
        return x.mean(dim=(2, 3))

    def convolutions(self) -> list[nn.Conv2d]:
        """All convolutions, from the input on."""
        return [module for module in self.modules() if isinstance(module, nn.Conv2d)]

    def load_layers(self, layers: Sequence[tuple[str, Tensor]]) -> None:
        """Loads the layers that `weights.reading.dlib.read_dlib` returns, each scale folded into its convolution.

        Raises:
            ValueError: the layers are those of another network.
        """
        convolutions = self.convolutions()
        if [name for name, _ in layers] != ["con", "affine"] * len(convolutions) + ["fc"]:
            raise ValueError("the layers are not those of dlib's face recognition network")
        for convolution, (_, values), (_, affine) in zip(convolutions, layers[:-1:2], layers[1::2], strict=True):
            weight, bias = convolution.weight, convolution.bias
            assert bias is not None
            if values.numel() != weight.numel() + bias.numel() or affine.numel() != 2 * bias.numel():
                raise ValueError("a layer has another size than in dlib's face recognition network")
            scale, shift = affine.chunk(2)
            with torch.no_grad():
                weight.copy_(values[: weight.numel()].view_as(weight) * scale[:, None, None, None])
                bias.copy_(values[weight.numel() :] * scale + shift)
