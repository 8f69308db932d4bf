"""Key tables of weight files of SAMM and of the networks in losses; those of generators and encoders are with them."""

from torch import Tensor

from oodinv.models.encoders.backbones import IR_SE_BACKBONE
from oodinv.models.naming import (
    BATCH_NORM,
    DROP,
    LINEAR,
    WEIGHT,
    Embedded,
    Layout,
    Refuse,
    Rule,
    Rules,
    binomial,
    each,
    flat,
    outputs_first,
    under,
)
from oodinv.models.perceptors.inception import CLASSES, FEATURES

# ---------------------------------------------------------------------------------------------------------
# SAMM and LPIPS

SAMM_SIZES = (256, 128, 64, 32)
"""Order of the sizes in the published model."""

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
    Embedded("encoder.", "encoder"),
    Embedded("generator.", "generator"),
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
"""Indices of the convolutions in torchvision's list of layers."""

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
    """Checks that a classifier has the shape of the network of 2015-12-05."""
    if x.shape not in ((CLASSES, FEATURES), (CLASSES,)):
        raise ValueError(f"has shape {tuple(x.shape)}: FID's network has {CLASSES} classes, torchvision's 1000")
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

LAYOUTS: tuple[Layout, ...] = (
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
"""Layouts of files that contain no family of generators or encoders, or several."""
