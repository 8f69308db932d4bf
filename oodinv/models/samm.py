"""SAMM: optical flow and invertibility mask at several sizes, while the generator runs.

Source: "Out-of-domain GAN inversion via invertibility decomposition" (Yang et al., ICCV 2023).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.models.ops import blur, fuse_masks, instance_norm, tanh, warp
from oodinv.models.winograd import Convolution, conv3x3, convolution


@dataclass(frozen=True)
class Alignment:
    """Flow and mask of SAMM at one size S.

    flow (B, 2, S, S): dx, dy in grid units (2 is the picture's width), |flow| ≤ flow_range.
    mask (B, 1, S, S) in [0, 1]: at this size, 1 where the warped features are used.
    """

    flow: Tensor
    mask: Tensor


class AlignmentUnit(nn.Module):
    """Residual unit: norm, convolution, PReLU, convolution, norm beside a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm_in = nn.InstanceNorm2d(inputs, affine=True)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm_out = nn.InstanceNorm2d(outputs, affine=True)
        self.shortcut_conv: nn.Conv2d | None = None
        self.shortcut_norm: nn.InstanceNorm2d | None = None
        if inputs != outputs:
            self.shortcut_conv = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.shortcut_norm = nn.InstanceNorm2d(outputs, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, S, S) → (B, outputs, S, S)."""
        shortcut = x
        if self.shortcut_conv is not None and self.shortcut_norm is not None:
            shortcut = normed(self.shortcut_norm, self.shortcut_conv(x))
        y = conv3x3(normed(self.norm_in, x), self.conv1.weight)
        return shortcut + normed(self.norm_out, conv3x3(self.prelu(y), self.conv2.weight))


def normed(norm: nn.InstanceNorm2d, x: Tensor) -> Tensor:
    """Instance norm with a module's parameters."""
    return instance_norm(x, norm.weight, norm.bias, norm.eps)


@dataclass(frozen=True)
class Seen:
    """Terms of an `AlignmentBody` that depend on encoder features alone and so are the same in every cycle.

    normed (B, C, S, S): the features after instance norm. convolved (B, 2C, S, S): their contribution to
    the first convolution. conv1: that convolution of the other C channels, conv2: the one after it.
    """

    normed: Tensor
    convolved: Tensor
    conv1: Convolution
    conv2: Convolution


class AlignmentBody(nn.Module):
    """Two residual units, 2C → 2C → 3, which predict dx, dy and the mask at one size.

    Its input is the concatenation of a difference and encoder features. The first unit's norm acts on single channels
    and its convolution is linear, so both are computed for each half separately; for the second half once, by `see`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.units = nn.ModuleList([AlignmentUnit(2 * channels, 2 * channels), AlignmentUnit(2 * channels, 3)])

    @property
    def first(self) -> AlignmentUnit:
        """The unit that keeps the number of channels."""
        unit = self.units[0]
        assert isinstance(unit, AlignmentUnit)
        return unit

    def see(self, features: Tensor) -> Seen:
        """Computes the terms of encoder features (B, C, S, S), given before instance norm."""
        known, weight = instance_norm(features), self.first.conv1.weight
        convolved = conv3x3(self._norm_share(known, slice(self.channels, None)), weight[:, self.channels :])
        return Seen(
            normed=known,
            convolved=convolved,
            conv1=convolution(weight[:, : self.channels], known),
            conv2=convolution(self.first.conv2.weight, convolved),
        )

    def forward(self, difference: Tensor, seen: Seen) -> Tensor:
        """(B, C, S, S) → (B, 3, S, S), unbounded."""
        first = self.first
        y = seen.conv1(self._norm_share(difference, slice(self.channels))) + seen.convolved
        y = normed(first.norm_out, seen.conv2(first.prelu(y)))
        return self.units[1](torch.cat([difference, seen.normed], dim=1) + y)  # type: ignore[no-any-return]

    def _norm_share(self, x: Tensor, inputs: slice) -> Tensor:
        """The first unit's norm of some of its input channels."""
        norm = self.first.norm_in
        return instance_norm(x, norm.weight[inputs], norm.bias[inputs], norm.eps)


class Samm(nn.Module):
    """Parameters of SAMM: at each size a projection of encoder features and a body that predicts.

    `channels` maps each size to the generator's channel count, `tap_channels` to the encoder's. In the published layout
    the body sees as many channels as the generator has. With `width`, `project` (with bias) and `squeeze` (without)
    bring encoder and generator features to that many channels before the instance norm; flow and mask then act on the
    generator's own.
    """

    kind: ClassVar[str] = "samm"

    def __init__(
        self,
        channels: Mapping[int, int],
        tap_channels: Mapping[int, int],
        *,
        cycles: int,
        flow_range: float,
        width: int | None = None,
    ) -> None:
        super().__init__()
        if sorted(channels) != sorted(tap_channels):
            raise ValueError(f"channels has sizes {sorted(channels)}, tap_channels {sorted(tap_channels)}")
        self.channels, self.tap_channels = dict(channels), dict(tap_channels)
        self.sizes = sorted(channels)
        self.cycles, self.flow_range, self.width = cycles, flow_range, width
        seen = {s: channels[s] if width is None else width for s in self.sizes}
        self.project = nn.ModuleDict({str(s): nn.Conv2d(tap_channels[s], seen[s], 1) for s in self.sizes})
        self.squeeze = nn.ModuleDict()
        if width is not None:
            self.squeeze.update({str(s): nn.Conv2d(channels[s], width, 1, bias=False) for s in self.sizes})
        self.bodies = nn.ModuleDict({str(s): AlignmentBody(seen[s]) for s in self.sizes})

    def config(self) -> dict[str, Any]:
        """Arguments of the constructor; plain values for JSON."""
        return {
            "channels": self.channels,
            "tap_channels": self.tap_channels,
            "cycles": self.cycles,
            "flow_range": self.flow_range,
            "width": self.width,
        }

    def align(self, generated: Tensor, tap: Tensor, size: int, coarser: Alignment | None) -> tuple[Tensor, Alignment]:
        """Calls `align_features` with the parameters for `size` and the projection of an encoder tap."""
        features = self.project[str(size)](tap)
        mask = None if coarser is None else coarser.mask
        body = self.bodies[str(size)]
        assert isinstance(body, AlignmentBody)
        # Warping commutes with a 1 × 1 convolution without bias, so the cycles need the squeezed features alone.
        seen = generated if self.width is None else self.squeeze[str(size)](generated)
        aligned, alignment = align_features(body, seen, features, mask, cycles=self.cycles, flow_range=self.flow_range)
        return aligned if self.width is None else apply_alignment(generated, alignment), alignment


def apply_alignment(generated: Tensor, alignment: Alignment) -> Tensor:
    """m · warp(g, flow) + (1 − m) · g. generated (B, C, S, S) → (B, C, S, S)."""
    return torch.lerp(generated, warp(generated, alignment.flow), alignment.mask.to(generated.dtype))


def predict(body: AlignmentBody, aligned: Tensor, seen: Seen, flow_range: float) -> Alignment:
    """Predicts flow and mask from generator features aligned so far (B, C, S, S) and the terms of the encoder's."""
    h = body(instance_norm(aligned) - seen.normed, seen).float()
    smooth = blur(torch.cat([flow_range * tanh(h[:, :2]), torch.sigmoid(h[:, 2:])], dim=1), 2, 1)
    return Alignment(flow=smooth[:, :2], mask=smooth[:, 2:])


def refine(known: Alignment, found: Alignment, flow_range: float) -> Alignment:
    """Adds a later cycle's prediction to the earlier ones."""
    flow = (known.flow + found.flow).clamp(-flow_range, flow_range)
    return Alignment(flow, fuse_masks(known.mask, found.mask))


def align_features(
    body: AlignmentBody,
    generated: Tensor,
    features: Tensor,
    coarser_mask: Tensor | None,
    *,
    cycles: int,
    flow_range: float,
) -> tuple[Tensor, Alignment]:
    """Aligns generator features to encoder features at one size.

    generated, features (B, C, S, S); coarser_mask (B, 1, S/2, S/2) or None at the coarsest size. Each cycle
    predicts from the features aligned so far but warps the original ones, so that nothing is resampled twice.
    Returns the aligned features (B, C, S, S) and the alignment.
    """
    seen = body.see(features)
    aligned, alignment = generated, None
    for cycle in range(cycles):
        found = predict(body, aligned, seen, flow_range)
        alignment = found if alignment is None else refine(alignment, found, flow_range)
        if cycle == cycles - 1 and coarser_mask is not None:
            upsampled = F.interpolate(
                coarser_mask.float(), size=generated.shape[-2:], mode="bicubic", align_corners=True
            )
            alignment = Alignment(alignment.flow, fuse_masks(upsampled, alignment.mask))
        aligned = apply_alignment(generated, alignment)
    assert alignment is not None
    return aligned, alignment


@dataclass(frozen=True)
class Predicted:
    """Alignments to be predicted by SAMM from encoder features {size: (B, C_tap, size, size)}.

    `sizes`: where SAMM acts, a subset of those it has parameters for; None for all of them.
    """

    samm: Samm
    features: Mapping[int, Tensor]
    sizes: frozenset[int] | None = None


@dataclass(frozen=True)
class Reused:
    """Existing alignments, such as those of the unedited inversion."""

    alignments: Mapping[int, Alignment]


AlignmentSource = Predicted | Reused


def acts_at(source: AlignmentSource, key: int) -> bool:
    """True if there is, or will be, an alignment for the features of the generator's block `key`."""
    match source:
        case Predicted(samm, _, sizes):
            return key in (samm.channels if sizes is None else sizes)
        case Reused(alignments):
            return key in alignments


def align_at(
    source: AlignmentSource, generated: Tensor, key: int, coarser: Alignment | None
) -> tuple[Tensor, Alignment]:
    """Aligns features (B, C, S, S) of the block `key`, if the source acts there; returns also the alignment."""
    match source:
        case Predicted(samm, features):
            return samm.align(generated, features[key], key, coarser)
        case Reused(alignments):
            return apply_alignment(generated, alignments[key]), alignments[key]
