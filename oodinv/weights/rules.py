"""Tables of the names that foreign weight files use, and ours for them.

The first rule that matches a key wins.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate

import torch
from torch import Tensor

from oodinv.models.encoders.backbones import STAGES
from oodinv.models.perceptors.inception import CLASSES, FEATURES


class Drop(Enum):
    """What is in the file but not in our module: constants, or parameters without effect."""

    DROP = "drop"


DROP = Drop.DROP


@dataclass(frozen=True)
class Refuse:
    """A key that shows that the file holds a network we don't have."""

    reason: str


@dataclass(frozen=True)
class Rule:
    """Keys that match `pattern` from end to end become `target`, which may use its groups.

    transform gives a value the shape that we store; it raises ValueError for one that it can't mean. A
    dropped value is only checked by it.
    """

    pattern: str
    target: str | Drop | Refuse
    transform: Callable[[Tensor], Tensor] | None = None


Rules = tuple[Rule, ...]


def first(x: Tensor) -> Tensor:
    """Takes off a leading axis of length 1: (1, ...) → (...)."""
    if x.ndim == 0 or x.shape[0] != 1:
        raise ValueError(f"has shape {tuple(x.shape)} where a leading 1 was expected")
    return x[0]


def plane(x: Tensor) -> Tensor:
    """(1, 1, H, W) → (H, W)."""
    return first(first(x))


def flat(x: Tensor) -> Tensor:
    """(1, C, 1, 1) or (1, 1, C, 1) → (C,)."""
    return x.flatten()


def outputs_first(x: Tensor) -> Tensor:
    """The kernel of a JAX convolution, (k, k, I, O), as PyTorch has it: (O, I, k, k)."""
    return x.permute(3, 2, 0, 1)


def binomial(x: Tensor) -> Tensor:
    """Checks that a resampling filter is the [1, 3, 3, 1] that is part of our arithmetic, up to a factor."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    if x.shape != (4, 4) or not torch.allclose(x.float() / x.float().sum(), torch.outer(taps, taps), atol=1e-6):
        raise ValueError("is another filter than [1, 3, 3, 1]")
    return x


def under(source: str, target: str, rules: Rules) -> Rules:
    """The same rules for keys that start with `source`, to targets that start with `target`."""
    return tuple(
        Rule(
            re.escape(source) + f"(?:{rule.pattern})",
            target + rule.target if isinstance(rule.target, str) else rule.target,
            rule.transform,
        )
        for rule in rules
    )


def each(tables: Iterable[Rules]) -> Rules:
    """Tables one after the other."""
    return tuple(rule for table in tables for rule in table)


LINEAR: Rules = (Rule(r"(weight|bias)", r"\1"),)
WEIGHT: Rules = (Rule(r"weight", "weight"),)
BATCH_NORM: Rules = (
    Rule(r"(weight|bias|running_mean|running_var)", r"\1"),
    Rule(r"num_batches_tracked", DROP),  # only training reads it
)

# ---------------------------------------------------------------------------------------------------------
# StyleGAN2, in the layout of rosinality's PyTorch port, which e4e and ReStyle use too

UP_SIZES = tuple(8 << n for n in range(10))
"""8 to 4096: the sizes of blocks that begin with an upsampling convolution."""

ROSINALITY_CONV: Rules = (
    Rule(r"conv\.weight", "weight", first),
    *under("conv.modulation.", "affine.", LINEAR),
    Rule(r"conv\.blur\.kernel", DROP, binomial),
    Rule(r"noise\.weight", "noise_strength", first),
    Rule(r"activate\.bias", "bias"),
)
ROSINALITY_RGB: Rules = (
    Rule(r"conv\.weight", "weight", first),
    *under("conv.modulation.", "affine.", LINEAR),
    Rule(r"bias", "bias", flat),
    Rule(r"upsample\.kernel", DROP, binomial),
)


def _rosinality_block(number: int, size: int) -> Rules:
    """Convolutions, colour layer and noise of the upsampling block with that number, counted from size 8."""
    up, conv = 2 * number, 2 * number + 1
    return (
        *under(f"convs.{up}.", f"blocks.{size}.up.", ROSINALITY_CONV),
        *under(f"convs.{conv}.", f"blocks.{size}.conv.", ROSINALITY_CONV),
        *under(f"to_rgbs.{number}.", f"blocks.{size}.to_rgb.", ROSINALITY_RGB),
        Rule(rf"noises\.noise_{up + 1}", f"blocks.{size}.up.noise", plane),
        Rule(rf"noises\.noise_{conv + 1}", f"blocks.{size}.conv.noise", plane),
    )


ROSINALITY: Rules = (
    *each(under(f"style.{n + 1}.", f"mapping.layers.{n}.", LINEAR) for n in range(16)),
    Rule(r"input\.input", "const", first),
    *under("conv1.", "blocks.4.conv.", ROSINALITY_CONV),
    *under("to_rgb1.", "blocks.4.to_rgb.", ROSINALITY_RGB),
    Rule(r"noises\.noise_0", "blocks.4.conv.noise", plane),
    *each(_rosinality_block(number, size) for number, size in enumerate(UP_SIZES)),
)

# ---------------------------------------------------------------------------------------------------------
# StyleGAN2, in the layout of NVIDIA's PyTorch version (StyleGAN2-ADA)

NVIDIA_CONV: Rules = (
    Rule(r"(weight|bias|noise_strength|affine\.weight|affine\.bias)", r"\1"),
    Rule(r"noise_const", "noise"),
    Rule(r"resample_filter", DROP, binomial),
)
NVIDIA: Rules = (
    Rule(r"mapping\.embed\..*", Refuse("is class-conditional, and oodinv has nothing to choose a class by")),
    Rule(r"synthesis\.b\d+\.skip\..*", Refuse("has the residual architecture; oodinv has the skip one")),
    Rule(r"mapping\.w_avg", "w_avg"),
    Rule(r"mapping\.fc(\d+)\.(weight|bias)", r"mapping.layers.\1.\2"),
    Rule(r"synthesis\.b4\.const", "const"),
    Rule(r"synthesis\.b\d+\.resample_filter", DROP, binomial),
    *each(under(f"synthesis.b{s}.conv0.", f"blocks.{s}.up.", NVIDIA_CONV) for s in UP_SIZES),
    *each(under(f"synthesis.b{s}.conv1.", f"blocks.{s}.conv.", NVIDIA_CONV) for s in (4, *UP_SIZES)),
    Rule(r"synthesis\.b(\d+)\.torgb\.(weight|bias|affine\.weight|affine\.bias)", r"blocks.\1.to_rgb.\2"),
)

# ---------------------------------------------------------------------------------------------------------
# Encoders

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

MAX_HEAD_STEPS = 6
"""Convolutions of a style head on the 64² map, the largest there is."""

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
IR_SE_ENCODER: Rules = (
    *IR_SE_BACKBONE,
    *under("latlayer1.", "lateral_32.", LINEAR),
    *under("latlayer2.", "lateral_64.", LINEAR),
    *(Rule(rf"styles\.(\d+)\.convs\.{2 * n}\.(weight|bias)", rf"heads.\1.convs.{n}.\2") for n in range(MAX_HEAD_STEPS)),
    Rule(r"styles\.(\d+)\.linear\.(weight|bias)", r"heads.\1.linear.\2"),
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
FEATURE_STYLE_ENCODER: Rules = (
    *under("conv.0.", "backbone.stem_conv.", WEIGHT),
    *under("conv.1.", "backbone.stem_norm.", BATCH_NORM),
    *under("conv.2.", "backbone.stem_prelu.", WEIGHT),
    *each(
        under(f"block_{stage + 1}.{n}.", f"backbone.stages.{stage}.{n}.", IRESNET_UNIT)
        for stage, (_, depth) in enumerate(STAGES)
        for n in range(depth)
    ),
    Rule(r"content_layer\..*", DROP),  # what it gives is injected into the generator; SAMM takes its place
    Rule(r"styles\.(\d+)\.(weight|bias)", r"heads.\1.\2"),
)

# ---------------------------------------------------------------------------------------------------------
# SAMM and LPIPS

SAMM_SIZES = (256, 128, 64, 32)
"""The published model counts its sizes in this order."""

SAMM_UNIT: Rules = (
    *under("res_layer.0.", "norm_in.", LINEAR),
    *under("res_layer.1.", "conv1.", WEIGHT),
    *under("res_layer.2.", "prelu.", WEIGHT),
    *under("res_layer.3.", "conv2.", WEIGHT),
    *under("res_layer.4.", "norm_out.", LINEAR),
    *under("shortcut_layer.0.", "shortcut_conv.", WEIGHT),
    *under("shortcut_layer.1.", "shortcut_norm.", LINEAR),
)


def _samm_size(number: int, size: int) -> Rules:
    body = f"modulation.{number}.alignment.body.body"
    return (
        *under(f"feats_conv.{number}.", f"project.{size}.", LINEAR),
        *each(under(f"{body}.{unit}.", f"bodies.{size}.units.{unit}.", SAMM_UNIT) for unit in (0, 1)),
        Rule(rf"modulation\.{number}\.alignment\.blur\.kernel", DROP, binomial),
        Rule(rf"modulation\.{number}\.(weight|noiseInj\.weight)", DROP),
    )


SAMM: Rules = each(_samm_size(number, size) for number, size in enumerate(SAMM_SIZES))

PUBLISHED_MODEL: Rules = (
    *under("encoder.", "encoder.", IR_SE_ENCODER + FEATURE_STYLE_ENCODER),
    *under("generator.", "generator.", ROSINALITY),
    *under("", "samm.", SAMM),
    Rule(r"avg_latent", "average"),
    Rule(r"delta_latent", DROP),  # an edit, for which oodinv has recipes
)

LPIPS: Rules = (
    Rule(r"(AlexNet|VGG16)_0\.Conv_(\d+)\.kernel", r"convs.\2.weight", outputs_first),
    Rule(r"(AlexNet|VGG16)_0\.Conv_(\d+)\.bias", r"convs.\2.bias"),
    Rule(r"NetLinLayer_(\d+)\.Conv_0\.kernel", r"heads.\1", flat),
)

# ---------------------------------------------------------------------------------------------------------
# Networks that losses look through

VGG19_CONVS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
"""Where torchvision's list of layers has a convolution."""

VGG19: Rules = (
    *each(under(f"features.{place}.", f"convs.{n}.", LINEAR) for n, place in enumerate(VGG19_CONVS)),
    Rule(r"classifier\.\d+\.(weight|bias)", DROP),
)

ARCFACE: Rules = (
    *IR_SE_BACKBONE,
    *under("output_layer.0.", "norm_map.", BATCH_NORM),
    *under("output_layer.3.", "linear.", LINEAR),
    *under("output_layer.4.", "norm.", BATCH_NORM),
)

# ---------------------------------------------------------------------------------------------------------
# The network that FID is defined with, in the layout of pytorch-fid's port


def classifier(x: Tensor) -> Tensor:
    """Checks that a classifier is that of the network of 2015-12-05."""
    if x.shape not in ((CLASSES, FEATURES), (CLASSES,)):
        raise ValueError(f"has shape {tuple(x.shape)}: FID's network tells {CLASSES} classes apart, torchvision's 1000")
    return x


INCEPTION_UNIT: Rules = (*under("conv.", "conv.", WEIGHT), *under("bn.", "bn.", BATCH_NORM))
INCEPTION: Rules = (
    *each(
        under(f"Conv2d_{place}_{kernel}.", f"stem_{place}.", INCEPTION_UNIT)
        for place, kernel in (("1a", "3x3"), ("2a", "3x3"), ("2b", "3x3"), ("3b", "1x1"), ("4a", "3x3"))
    ),
    Rule(
        r"Mixed_(\d\w)\.(branch\w+)\.(conv\.weight|bn\.(?:weight|bias|running_mean|running_var))",
        r"blocks.\1.units.\2.\3",
    ),
    Rule(r"Mixed_\d\w\.branch\w+\.bn\.num_batches_tracked", DROP),
    Rule(r"AuxLogits\..*", Refuse("is torchvision's InceptionV3, with which FID is not defined")),
    Rule(r"fc\.(weight|bias)", DROP, classifier),
)


LATENT_AVG: Rules = (Rule(r"latent_avg", "average"),)
ENCODER_FILE: Rules = (
    *under("state_dict.encoder.", "encoder.", IR_SE_ENCODER),
    *under("state_dict.decoder.", "generator.", ROSINALITY),
    *LATENT_AVG,
    Rule(r"(discriminator_state_dict|discriminator_optimizer|optimizer)\..*", DROP),
)
