"""The two face-recognition networks on which the published encoders are based.

Both are ResNets of 24 residual units in four stages, each of which halves the size; they differ in the unit.
Sources: "ArcFace" (Deng et al., CVPR 2019) for unit and plan; "Squeeze-and-Excitation Networks" (Hu et al.,
CVPR 2018) for the gate.
"""

from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.naming import BATCH_NORM, WEIGHT, Rules, each, under

STEM_CHANNELS = 64
STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))
"""Channels and number of units of each stage."""

INPUT_SIZE = 256
"""Side of the image that the encoders were trained on."""

TAP_CHANNELS = {256: 64, 128: 64, 64: 128, 32: 256}
"""Maps that SAMM may use: those of the stem and of the first three stages."""

SQUEEZE = 16


@dataclass(frozen=True)
class UnitPlan:
    """Differences between the residual units of the two networks.

    middle_norm: a batch norm between the first convolution and its activation.
    gated: squeeze-and-excitation at the end of the residual.
    projected: units that halve the size have a 1 × 1 convolution as their shortcut even if the number of channels is
    unchanged; otherwise such a shortcut takes every second pixel.
    """

    middle_norm: bool
    gated: bool
    projected: bool


IR_SE_50 = UnitPlan(middle_norm=False, gated=True, projected=False)
IRESNET_50 = UnitPlan(middle_norm=True, gated=False, projected=True)


class Gate(nn.Module):
    """Squeeze and excitation: scales each channel by a function of all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // SQUEEZE, 1, bias=False)
        self.excite = nn.Conv2d(channels // SQUEEZE, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → same."""
        hidden = F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))
        return x * self.excite(hidden).sigmoid()  # type: ignore[no-any-return]


class ProjectedShortcut(nn.Module):
    """A shortcut that changes the number of channels or mixes them: 1 × 1 convolution and batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
        return self.norm(self.conv(x))  # type: ignore[no-any-return]


class ResidualUnit(nn.Module):
    """Norm, convolution, PReLU, strided convolution, norm, all beside a shortcut (ArcFace)."""

    def __init__(self, inputs: int, outputs: int, stride: int, plan: UnitPlan) -> None:
        super().__init__()
        self.stride = stride
        self.norm_in = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.norm_mid = nn.BatchNorm2d(outputs) if plan.middle_norm else nn.Identity()
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.norm_out = nn.BatchNorm2d(outputs)
        self.gate = Gate(outputs) if plan.gated else nn.Identity()
        projected = inputs != outputs or (plan.projected and stride != 1)
        self.shortcut = ProjectedShortcut(inputs, outputs, stride) if projected else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
        shortcut = x[:, :, :: self.stride, :: self.stride] if self.shortcut is None else self.shortcut(x)
        y = self.prelu(self.norm_mid(self.conv1(self.norm_in(x))))
        return shortcut + self.gate(self.norm_out(self.conv2(y)))  # type: ignore[no-any-return]


def stage(inputs: int, outputs: int, depth: int, plan: UnitPlan) -> nn.Sequential:
    """`depth` residual units, the first of which halves the size."""
    first = ResidualUnit(inputs, outputs, 2, plan)
    return nn.Sequential(first, *(ResidualUnit(outputs, outputs, 1, plan) for _ in range(depth - 1)))


class Backbone(nn.Module):
    """Stem and four stages. `forward` gives the map after each of the five."""

    def __init__(self, inputs: int, plan: UnitPlan) -> None:
        super().__init__()
        self.stem_conv = nn.Conv2d(inputs, STEM_CHANNELS, 3, 1, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(STEM_CHANNELS)
        self.stem_prelu = nn.PReLU(STEM_CHANNELS)
        widths = [STEM_CHANNELS, *(channels for channels, _ in STAGES[:-1])]
        self.stages = nn.ModuleList(
            stage(width, channels, depth, plan) for width, (channels, depth) in zip(widths, STAGES, strict=True)
        )

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        """image (B, inputs, S, S) in [−1, 1] → {s: (B, C, s, s)} for s = S, S/2, S/4, S/8, S/16.

        C = 64, 64, 128, 256, 512.
        """
        image = image.contiguous(memory_format=torch.channels_last)  # faster with few channels, on CPU and GPU
        x = self.stem_prelu(self.stem_norm(self.stem_conv(image)))
        maps = {x.shape[-1]: x}
        for stage in self.stages:
            x = stage(x)
            maps[x.shape[-1]] = x
        return maps


# ---------------------------------------------------------------------------------------------------------
# Their names in published files

IR_SE_UNIT: Rules = (
    *under("res_layer.0.", "norm_in.", BATCH_NORM),
    *under("res_layer.1.", "conv1.", WEIGHT),
    *under("res_layer.2.", "prelu.", WEIGHT),
    *under("res_layer.3.", "conv2.", WEIGHT),
    *under("res_layer.4.", "norm_out.", BATCH_NORM),
    *under("res_layer.5.fc1.", "gate.squeeze.", WEIGHT),
    *under("res_layer.5.fc2.", "gate.excite.", WEIGHT),
    *under("shortcut_layer.0.", "shortcut.conv.", WEIGHT),
    *under("shortcut_layer.1.", "shortcut.norm.", BATCH_NORM),
)
FIRST_UNITS = tuple(accumulate((depth for _, depth in STAGES[:-1]), initial=0))
"""Number of the first unit of each stage, where units are counted through."""

IR_SE_BACKBONE: Rules = (
    *under("input_layer.0.", "backbone.stem_conv.", WEIGHT),
    *under("input_layer.1.", "backbone.stem_norm.", BATCH_NORM),
    *under("input_layer.2.", "backbone.stem_prelu.", WEIGHT),
    *each(
        under(f"body.{start + n}.", f"backbone.stages.{stage}.{n}.", IR_SE_UNIT)
        for stage, (start, (_, depth)) in enumerate(zip(FIRST_UNITS, STAGES, strict=True))
        for n in range(depth)
    ),
)

IRESNET_UNIT: Rules = (
    *under("bn1.", "norm_in.", BATCH_NORM),
    *under("conv1.", "conv1.", WEIGHT),
    *under("bn2.", "norm_mid.", BATCH_NORM),
    *under("prelu.", "prelu.", WEIGHT),
    *under("conv2.", "conv2.", WEIGHT),
    *under("bn3.", "norm_out.", BATCH_NORM),
    *under("downsample.0.", "shortcut.conv.", WEIGHT),
    *under("downsample.1.", "shortcut.norm.", BATCH_NORM),
)
