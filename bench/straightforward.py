"""The method written down step by step, as the published code computes it; `bench/network.py` compares speed with it.

Weights are modulated for each sample and convolved in groups, filters are padded 4 × 4 convolutions of one channel
planes after zeros were inserted, and SAMM's body gets the concatenation [n_a − n_f, n_f] again in every cycle
("Out-of-domain GAN inversion via invertibility decomposition", Yang et al., ICCV 2023). It takes parameters
from the project's modules and gives the same numbers; none of its arithmetic is shared with `oodinv/models/ops.py`.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from oodinv.inversion import Inversion
from oodinv.models.encoders.backbones import INPUT_SIZE, Backbone
from oodinv.models.encoders.base import Encoding
from oodinv.models.encoders.e4e import E4e, map_size
from oodinv.models.generators.stylegan2 import StyledConv, StyleGAN2, ToRGB
from oodinv.models.samm import Alignment, AlignmentBody, AlignmentUnit, Samm
from oodinv.weights.build import Model

Pad = tuple[int, int]


def binomial_kernel() -> Tensor:
    """[1, 3, 3, 1] ⊗ [1, 3, 3, 1] / 64."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / 64


def upfirdn(x: Tensor, kernel: Tensor, up: int, pad: Pad) -> Tensor:
    """Inserts zeros, pads and filters every channel as a picture of its own. (B, C, H, W) → (B, C, H', W')."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch * channels, 1, height, 1, width, 1)
    x = F.pad(x, (0, up - 1, 0, 0, 0, up - 1)).reshape(batch * channels, 1, height * up, width * up)
    x = F.conv2d(F.pad(x, (*pad, *pad)), kernel.flip(0, 1)[None, None])
    return x.reshape(batch, channels, *x.shape[-2:])


def modulated_weight(weight: Tensor, style: Tensor, demodulate: bool) -> Tensor:
    """weight (O, I, k, k), style (B, I) → one weight a sample, (B, O, I, k, k)."""
    modulated = weight[None] / math.sqrt(weight[0].numel()) * style[:, None, :, None, None]
    if not demodulate:
        return modulated
    return modulated * torch.rsqrt(modulated.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)


def modulated_conv(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, up: bool = False) -> Tensor:
    """x (B, I, H, W), weight (O, I, k, k), style (B, I) → (B, O, H, W), or twice the size with `up`."""
    batch, inputs, height, width = x.shape
    outputs, size = weight.shape[0], weight.shape[-1]
    weights = modulated_weight(weight, style, demodulate)
    x = x.reshape(1, batch * inputs, height, width)
    if up:
        weights = weights.transpose(1, 2).reshape(batch * inputs, outputs, size, size)
        x = F.conv_transpose2d(x, weights, stride=2, groups=batch)
    else:
        x = F.conv2d(x, weights.reshape(batch * outputs, inputs, size, size), padding=size // 2, groups=batch)
    x = x.reshape(batch, outputs, *x.shape[-2:])
    return upfirdn(x, binomial_kernel() * 4, 1, (1, 1)) if up else x


def styled_conv(layer: StyledConv, x: Tensor, w: Tensor) -> Tensor:
    """Up to where noise would be added."""
    return modulated_conv(x, layer.weight, layer.affine(w), up=layer.up)


def activate(layer: StyledConv, x: Tensor) -> Tensor:
    """Bias and activation; noise is zero."""
    return F.leaky_relu(x + layer.bias[None, :, None, None], 0.2) * math.sqrt(2)


def colour(layer: ToRGB, x: Tensor, w: Tensor, rgb: Tensor | None) -> Tensor:
    """This size's contribution on top of the enlarged image so far."""
    found = modulated_conv(x, layer.weight, layer.affine(w), demodulate=False) + layer.bias[None, :, None, None]
    return found if rgb is None else upfirdn(rgb, binomial_kernel() * 4, 2, (2, 1)) + found


def residual_unit(unit: AlignmentUnit, x: Tensor) -> Tensor:
    """A residual unit of SAMM's body."""
    shortcut = x
    if unit.shortcut_conv is not None and unit.shortcut_norm is not None:
        shortcut = F.conv2d(x, unit.shortcut_conv.weight)
        shortcut = F.instance_norm(shortcut, weight=unit.shortcut_norm.weight, bias=unit.shortcut_norm.bias)
    y = F.instance_norm(x, weight=unit.norm_in.weight, bias=unit.norm_in.bias)
    y = F.prelu(F.conv2d(y, unit.conv1.weight, padding=1), unit.prelu.weight)
    y = F.conv2d(y, unit.conv2.weight, padding=1)
    return F.instance_norm(y, weight=unit.norm_out.weight, bias=unit.norm_out.bias) + shortcut


def body_output(body: AlignmentBody, x: Tensor) -> Tensor:
    """(B, 2C, S, S) → (B, 3, S, S)."""
    for unit in body.units:
        assert isinstance(unit, AlignmentUnit)
        x = residual_unit(unit, x)
    return x


def fuse(coarse: Tensor, fine: Tensor) -> Tensor:
    """A mask refined by another."""
    return (coarse * fine + coarse * (1 - coarse)).clamp(0, 1)


def sampled(x: Tensor, flow: Tensor) -> Tensor:
    """x (B, C, S, S) at an even grid plus flow (B, 2, S, S)."""
    axis = torch.linspace(-1, 1, x.shape[-1])
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack([columns, rows], dim=-1)[None] + flow.permute(0, 2, 3, 1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def align(samm: Samm, size: int, g: Tensor, tap: Tensor, coarser: Alignment | None) -> tuple[Tensor, Alignment]:
    """Generator features g (B, C, S, S) aligned to an encoder's map, and what was found."""
    body = samm.bodies[str(size)]
    assert isinstance(body, AlignmentBody)
    f, a, limit = samm.project[str(size)](tap), g, samm.flow_range
    flow = mask = torch.empty(0)
    for cycle in range(samm.cycles):
        n_a, n_f = F.instance_norm(a), F.instance_norm(f)
        h = body_output(body, torch.cat([n_a - n_f, n_f], dim=1))
        d = torch.cat([limit * torch.tanh(h[:, :2]), torch.sigmoid(h[:, 2:])], dim=1)
        d = upfirdn(d, binomial_kernel(), 1, (2, 1))
        flow = d[:, :2] if cycle == 0 else (flow + d[:, :2]).clamp(-limit, limit)
        mask = d[:, 2:] if cycle == 0 else fuse(mask, d[:, 2:])
        if cycle == samm.cycles - 1 and coarser is not None:
            mask = fuse(F.interpolate(coarser.mask, scale_factor=2, mode="bicubic", align_corners=True), mask)
        a = mask * sampled(g, flow) + (1 - mask) * g
    return a, Alignment(flow, mask)


def generate(
    generator: StyleGAN2, samm: Samm, w_plus: Tensor, features: dict[int, Tensor]
) -> tuple[Tensor, dict[int, Alignment]]:
    """w_plus (B, num_ws, w_dim) and features {S: (B, C, S, S)} → image (B, 3, H, W) and alignments; no noise."""
    x = generator.const.expand(w_plus.shape[0], -1, -1, -1).contiguous()
    first = generator.block(4)
    x = activate(first.conv, styled_conv(first.conv, x, w_plus[:, 0]))
    rgb = colour(first.to_rgb, x, w_plus[:, 1], None)
    alignments: dict[int, Alignment] = {}
    for n, size in enumerate(generator.sizes[1:]):
        block = generator.block(size)
        assert block.up is not None
        x = styled_conv(block.up, x, w_plus[:, 2 * n + 1])
        if size in samm.channels:
            x, alignments[size] = align(samm, size, x, features[size], alignments.get(size // 2))
        x = activate(block.up, x)
        x = activate(block.conv, styled_conv(block.conv, x, w_plus[:, 2 * n + 2]))
        rgb = colour(block.to_rgb, x, w_plus[:, 2 * n + 3], rgb)
    return rgb, alignments


def backbone_maps(backbone: Backbone, image: Tensor) -> dict[int, Tensor]:
    """image (B, 3, S, S) → the map after the stem and each stage."""
    x = backbone.stem_prelu(backbone.stem_norm(backbone.stem_conv(image)))
    maps = {x.shape[-1]: x}
    for stage in backbone.stages:
        assert isinstance(stage, nn.Sequential)
        for unit in stage:
            x = unit(x)
        maps[x.shape[-1]] = x
    return maps


def encode(encoder: E4e, image: Tensor) -> Encoding:
    """image (B, 3, H, W) in [−1, 1] → latent codes and features."""
    maps = backbone_maps(encoder.backbone, F.interpolate(image, (INPUT_SIZE, INPUT_SIZE), mode="bilinear"))
    levels = {16: maps[16]}
    for size, lateral in ((32, encoder.lateral_32), (64, encoder.lateral_64)):
        levels[size] = lateral(maps[size]) + F.interpolate(
            levels[size // 2], scale_factor=2, mode="bicubic", align_corners=True
        )
    rows = [head(levels[map_size(row)]) for row, head in enumerate(encoder.heads)]
    offsets = torch.stack([rows[0], *(rows[0] + row for row in rows[1:])], dim=1)
    return Encoding(encoder.w_avg + offsets, {size: maps[size] for size in encoder.tap_channels})


def composed(image: Tensor, generated: Tensor, alignments: dict[int, Alignment]) -> tuple[Tensor, Tensor]:
    """The final mask (B, 1, H, W) and M·x + (1 − M)·g."""
    size = image.shape[-1]
    masks = [
        F.interpolate(alignments[s].mask, (size, size), mode="bilinear", align_corners=False)
        for s in sorted(alignments)
    ]
    mask = masks[0]
    for finer in masks[1:]:
        mask = fuse(mask, finer)
    return mask, mask * image + (1 - mask) * generated


@torch.no_grad()
def invert(model: Model, image: Tensor) -> Inversion:
    """As `oodinv.inversion.invert` with `noise="zero"`, for a model with an e4e encoder and SAMM, in float32."""
    assert isinstance(model.generator, StyleGAN2)
    assert isinstance(model.encoder, E4e)
    assert model.samm is not None
    encoding = encode(model.encoder, image)
    generated, alignments = generate(model.generator, model.samm, encoding.w_plus, encoding.features)
    mask, composite = composed(image, generated, alignments)
    return Inversion(encoding.w_plus, generated, alignments, mask, composite)
