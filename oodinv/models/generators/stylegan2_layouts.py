"""Layouts of StyleGAN2 weight files: rosinality's PyTorch port, which e4e and ReStyle use too, and StyleGAN2-ADA's."""

import re

from oodinv.models.naming import (
    DROP,
    LATENT_AVG,
    LINEAR,
    Layout,
    Refuse,
    Rule,
    Rules,
    Settings,
    binomial,
    each,
    first,
    flat,
    plane,
    under,
)

LARGEST_CLAMP = 1e30

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


LAYOUTS = (
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
    Layout(
        "other-encoder",  # pSp's, for one; its generator serves
        r"state_dict\.decoder\.input\.input",
        (
            Rule(r"state_dict\.encoder\..*", DROP),
            *under("state_dict.decoder.", "generator.", ROSINALITY),
            *LATENT_AVG,
            Rule(r"(discriminator_state_dict|discriminator_optimizer|optimizer)\..*", DROP),
        ),
    ),
)


def conv_clamp(settings: Settings) -> float | None:
    """The bound on activations of a generator in NVIDIA's layout; None for no bound.

    Layers state it. Otherwise it is among the arguments of the generator: nested as in StyleGAN2-ADA, or flat
    as in the StyleGAN2 of the stylegan3 repository.

    Raises:
        ValueError: it is not a positive number, or differs between layers.
    """
    stated = [value for key, value in settings.items() if re.fullmatch(r"G_ema\.synthesis\..+\.conv_clamp", key)]
    if not stated:
        match settings.get("G_ema.init_kwargs"):
            case {"synthesis_kwargs": {"conv_clamp": value}} | {"conv_clamp": value}:
                stated = [value]
            case _:
                return None
    if any(value != stated[0] for value in stated):
        raise ValueError("has layers with different values of conv_clamp")
    match stated[0]:
        case None:
            return None
        case int() | float() as value if 0 < value < LARGEST_CLAMP:
            return float(value)
    raise ValueError("has a conv_clamp that is not a positive number")
