"""Every name that a foreign weight file may use, and ours for it.

A layout is a table of rules from the keys of a file to our parameters, under the part that they belong to:
`generator.*`, `encoder.*`, `samm.*`, `lpips.*`, …, and `average` for the average latent. The first rule that
matches a key wins; a key that no rule matches is an error, and so is one that a module needs and doesn't get.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from typing import Literal, get_args

import torch
from torch import Tensor

from oodinv.errors import UnknownLayout
from oodinv.models.encoders.backbones import STAGES
from oodinv.models.perceptors.inception import CLASSES, FEATURES
from oodinv.weights import own
from oodinv.weights.read import WeightsFile

Part = Literal["generator", "encoder", "samm", "lpips", "vgg19", "recognition", "inception"]
PARTS: tuple[Part, ...] = get_args(Part)

Name = Literal[
    "oodinv", "stylegan2-nvidia", "stylegan2-rosinality", "e4e", "restyle-e4e", "other-encoder",
    "feature-style", "samm", "ood-inversion", "lpips", "vgg19", "arcface", "fid-inception",
]  # fmt: skip
"""Names of the layouts."""


# ---------------------------------------------------------------------------------------------------------
# Rules


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

# ---------------------------------------------------------------------------------------------------------
# Layouts


@dataclass(frozen=True)
class Layout:
    """A way to lay out a file; a file has it if one of its keys matches `mark` from end to end.

    encoder_type is what the file's options call the encoder, if they do: pSp's keys are e4e's, but its rows
    of w_plus are no offsets.
    """

    name: Name
    mark: str
    rules: Rules
    encoder_type: str | None = None


LATENT_AVG: Rules = (Rule(r"latent_avg", "average"),)
ENCODER_FILE: Rules = (
    *under("state_dict.encoder.", "encoder.", IR_SE_ENCODER),
    *under("state_dict.decoder.", "generator.", ROSINALITY),
    *LATENT_AVG,
    Rule(r"(discriminator_state_dict|discriminator_optimizer|optimizer)\..*", DROP),
)

LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "stylegan2-nvidia",
        r"G_ema\.synthesis\.b4\.const",
        (*under("G_ema.", "generator.", NVIDIA), Rule(r"(G|D|augment_pipe)\..*", DROP)),
    ),
    Layout(
        "stylegan2-rosinality",
        r"g_ema\.input\.input",
        (
            *under("g_ema.", "generator.", ROSINALITY),
            *LATENT_AVG,
            Rule(r"(g|d|g_optim|d_optim)\..*|ada_aug_p", DROP),  # left over from training
        ),
    ),
    Layout("stylegan2-rosinality", r"input\.input", (*under("", "generator.", ROSINALITY), *LATENT_AVG)),
    Layout("e4e", r"state_dict\.encoder\.latlayer1\.weight", ENCODER_FILE, "Encoder4Editing"),
    Layout(
        "restyle-e4e",
        r"state_dict\.encoder\.styles\.0\.convs\.0\.weight",
        ENCODER_FILE,
        "ProgressiveBackboneEncoder",
    ),
    Layout(
        "other-encoder",  # pSp's, for one; its generator serves
        r"state_dict\.decoder\.input\.input",
        (Rule(r"state_dict\.encoder\..*", DROP), *ENCODER_FILE),
    ),
    Layout("feature-style", r"block_1\.0\.bn1\.weight", under("", "encoder.", FEATURE_STYLE_ENCODER)),
    Layout("ood-inversion", r"generator\.input\.input", PUBLISHED_MODEL),
    Layout(
        "samm",
        r"params_ema\.modulation\.\d+\..*",
        (*under("params_ema.", "", PUBLISHED_MODEL), Rule(r"params\..*", DROP)),
    ),
    Layout("samm", r"params\.modulation\.\d+\..*", under("params.", "", PUBLISHED_MODEL)),
    Layout("samm", r"modulation\.\d+\..*", PUBLISHED_MODEL),
    Layout("lpips", r"(AlexNet|VGG16)_0\.Conv_0\.kernel", under("", "lpips.", LPIPS)),
    Layout("vgg19", r"features\.32\.weight", under("", "vgg19.", VGG19)),  # VGG16 and batch norm have none there
    Layout("arcface", r"output_layer\.3\.weight", under("", "recognition.", ARCFACE)),
    Layout("fid-inception", r"Mixed_7c\.branch_pool\.conv\.weight", under("", "inception.", INCEPTION)),
)

HINTS: tuple[tuple[str, str], ...] = (
    (r"G_ema\.synthesis\.input\..*", "it holds a StyleGAN3 generator; oodinv has StyleGAN2"),
    (r"G_ema\..*", "it holds an NVIDIA network other than a StyleGAN2 generator"),
    (r"(.*\.)?encoder\..*", "it holds an encoder other than e4e, ReStyle-e4e and Feature-Style"),
    (r"(input_layer|body)\..*|layer1\.0\..*", "it holds a face-recognition network, not an encoder"),
    (r"features\.\d+\..*", "it holds an image classifier"),
)


def summarise(names: Iterable[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _has(file: WeightsFile, layout: Layout) -> bool:
    match file.settings.get("opts"):
        case {"encoder_type": encoder_type} if layout.encoder_type not in (None, encoder_type):
            return False
    return any(re.fullmatch(layout.mark, key) for key in file.tensors)


def find_layout(file: WeightsFile) -> Layout | None:
    """The layout of a file; None for oodinv's own.

    Raises:
        UnknownLayout: it has none that oodinv knows.
    """
    if file.settings.get("format") == own.FORMAT:
        return None
    for layout in LAYOUTS:
        if _has(file, layout):
            return layout
    hint = next((text for p, text in HINTS if any(re.fullmatch(p, k) for k in file.tensors)), "")
    found = f"its tensors are {summarise(file.tensors)}" if file.tensors else "it holds no tensors"
    known = ", ".join(dict.fromkeys(layout.name for layout in LAYOUTS))
    raise UnknownLayout(
        f"{file.path}: is laid out like no file that oodinv knows ({known}); {hint or found}. Use the file "
        "that the model card names, as its authors published it"
    )


# ---------------------------------------------------------------------------------------------------------
# Translation


@dataclass(frozen=True)
class Translation:
    """A file's tensors under our names, by part, floating-point values as float32.

    average: the average latent that comes with the file, (w_dim,), (1, w_dim) or (num_ws, w_dim).
    """

    file: WeightsFile
    layout: Name
    parts: dict[Part, dict[str, Tensor]]
    average: Tensor | None

    def part(self, part: Part) -> dict[str, Tensor]:
        """State of one module.

        Raises:
            UnknownLayout: the file does not hold it.
        """
        if part not in self.parts:
            raise UnknownLayout(
                f"{self.file.path}: is a {self.layout} file with {' and '.join(self.parts) or 'nothing'} in "
                f"it, and no {part}; correct the model card"
            )
        return self.parts[part]


OWN_PARTS: Mapping[object, Part] = {
    "stylegan2": "generator",
    "pyramid": "encoder",
    "e4e": "encoder",
    "restyle": "encoder",
    "feature_style": "encoder",
    "samm": "samm",
}


def recognise(file: WeightsFile) -> Name:
    """Name of a file's layout, once every key has been checked.

    Raises:
        UnknownLayout: as `translate`.
    """
    return translate(file).layout


def translate(file: WeightsFile) -> Translation:
    """Every tensor of a file under our names.

    Raises:
        UnknownLayout: no layout fits, a key is unknown, or two keys mean the same parameter.
    """
    layout = find_layout(file)
    if layout is None:
        return Translation(file, "oodinv", {_own_part(file): own.as_float32(file.tensors)}, None)
    renamed = own.as_float32(_rename(file, layout))
    average = renamed.pop("average", None)
    if average is not None and average.ndim not in (1, 2):
        raise UnknownLayout(f"{file.path}: its average latent has shape {tuple(average.shape)}; it was altered")
    parts: dict[Part, dict[str, Tensor]] = {}
    for part in PARTS:
        prefix = f"{part}."
        if state := {k.removeprefix(prefix): v for k, v in renamed.items() if k.startswith(prefix)}:
            parts[part] = state
    return Translation(file, layout.name, parts, average)


def _own_part(file: WeightsFile) -> Part:
    kind = file.settings.get("kind")
    if kind not in OWN_PARTS:
        raise UnknownLayout(f"{file.path}: holds a {kind!r}, which this oodinv doesn't know; update oodinv")
    return OWN_PARTS[kind]


def _rename(file: WeightsFile, layout: Layout) -> dict[str, Tensor]:
    rules = [(re.compile(rule.pattern), rule) for rule in layout.rules]
    renamed: dict[str, Tensor] = {}
    unknown = []
    for key, value in file.tensors.items():
        found = next(((m, rule) for pattern, rule in rules if (m := pattern.fullmatch(key))), None)
        if found is None:
            unknown.append(key)
            continue
        match, rule = found
        if isinstance(rule.target, Refuse):
            raise UnknownLayout(f"{file.path}: {rule.target.reason} ({key})")
        transformed = _transformed(file, key, value, rule)
        if isinstance(rule.target, str):
            name = match.expand(rule.target)
            if name in renamed:
                raise UnknownLayout(f"{file.path}: {key} is there twice, under two names; it was altered")
            renamed[name] = transformed
    if unknown:
        raise UnknownLayout(
            f"{file.path}: looks like a {layout.name} file, but its {summarise(unknown)} are unknown; "
            "use the file as its authors published it"
        )
    return renamed


def _transformed(file: WeightsFile, key: str, value: Tensor, rule: Rule) -> Tensor:
    if rule.transform is None:
        return value
    try:
        return rule.transform(value)
    except (ValueError, RuntimeError) as error:
        raise UnknownLayout(f"{file.path}: {key} {error}; it was altered, or it is another network") from error
