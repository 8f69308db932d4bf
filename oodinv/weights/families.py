"""From a translated weight file to one module: sizes read off tensor shapes, values filled in strictly."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from oodinv.errors import UnknownLayout, WeightsError
from oodinv.models.encoders.e4e import E4e
from oodinv.models.encoders.feature_style import FeatureStyle
from oodinv.models.encoders.pyramid import PyramidEncoder
from oodinv.models.encoders.restyle import Restyle
from oodinv.models.generators.stylegan2 import Generator, map_latents
from oodinv.models.perceptors.arcface import Recognition
from oodinv.models.perceptors.inception import Inception
from oodinv.models.perceptors.lpips import Backbone as PerceptualBackbone
from oodinv.models.perceptors.lpips import Lpips
from oodinv.models.perceptors.vgg19 import Vgg19
from oodinv.models.samm import Samm
from oodinv.recipe.card import E4eCard, EncoderCard, FeatureStyleCard, PyramidCard, RestyleCard, SammCard
from oodinv.weights import native
from oodinv.weights.translation import Translation, summarise

AVERAGE_DRAWS = 10_000
"""Latents to average where a generator's file doesn't give their average."""

AnyEncoder = E4e | Restyle | FeatureStyle | PyramidEncoder
State = Mapping[str, Tensor]
M = TypeVar("M", bound=nn.Module)


# ---------------------------------------------------------------------------------------------------------
# Reading sizes and filling


def empty(construct: Callable[[], M]) -> M:
    """A module whose values are still to come, without the time that initialising them takes."""
    with torch.device("meta"):
        return construct()


def fill(module: M, state: State, source: Translation) -> M:
    """Gives a module exactly the values that it needs, and freezes it.

    Raises:
        UnknownLayout: one is missing, one is too many, or one has another shape.
    """
    expected = {k: v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    reshaped = {k for k in expected.keys() & given.keys() if expected[k].shape != given[k].shape}
    for keys, what in (
        (expected.keys() - given.keys(), "lacks"),
        (given.keys() - expected.keys(), "has too much:"),
        (reshaped, "has another shape for"),
    ):
        if keys:
            raise UnknownLayout(
                f"{source.file.path}: as a {source.layout} file for {type(module).__name__} it {what} "
                f"{summarise(keys)} (in oodinv's names); use the file as its authors published it"
            )
    module.load_state_dict({k: v.clone() for k, v in given.items()}, assign=True)
    return module.eval().requires_grad_(False)


def _shape(state: State, key: str, source: Translation) -> tuple[int, ...]:
    """Shape of a tensor that tells a network's size."""
    if key not in state or state[key].ndim == 0:
        raise UnknownLayout(f"{source.file.path}: lacks {key} (in oodinv's names); it is not complete")
    return tuple(state[key].shape)


def _numbers(state: State, pattern: str) -> list[int]:
    """The numbers that the one group of `pattern` takes in the keys, rising."""
    return sorted({int(m[1]) for key in state if (m := re.fullmatch(pattern, key))})


def _own_config(source: Translation) -> dict[str, Any]:
    """What the project's own files say about their module."""
    text = source.file.settings.get("config")
    try:
        config = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise WeightsError(f"{source.file.path}: its description is damaged; get the file again")
    return config


# ---------------------------------------------------------------------------------------------------------
# Generator


def build_generator(source: Translation) -> Generator:
    """A generator with sizes, channels, widths and depth of its tensors.

    Where the file has no average latent, it is the mean over 10,000 draws from a fixed seed.

    Raises:
        UnknownLayout: the file holds no generator, or an incomplete one.
    """
    state = source.part("generator")
    config = generator_config(state, source)
    try:
        generator = empty(lambda: Generator(**config))
    except ValueError as error:
        raise UnknownLayout(f"{source.file.path}: its generator is not complete ({error})") from error
    if "w_avg" in state:
        return fill(generator, state, source)
    if source.average is not None:
        rows = source.average.reshape(-1, source.average.shape[-1])
        return fill(generator, {**state, "w_avg": rows.mean(dim=0)}, source)
    fill(generator, {**state, "w_avg": torch.zeros(config["w_dim"])}, source)
    generator.w_avg = average_latent(generator)
    return generator


def generator_config(state: State, source: Translation) -> dict[str, Any]:
    """Arguments of the generator's constructor."""
    if source.layout == "oodinv":
        return native.arguments(_own_config(source))
    sizes = _numbers(state, r"blocks\.(\d+)\..*")
    return {
        "size": max(sizes, default=0),
        "channels": {s: _shape(state, f"blocks.{s}.conv.bias", source)[0] for s in sizes},
        "w_dim": _shape(state, "blocks.4.conv.affine.weight", source)[-1],
        "z_dim": _shape(state, "mapping.layers.0.weight", source)[-1],
        "mapping_layers": len(_numbers(state, r"mapping\.layers\.(\d+)\.weight")),
        "conv_clamp": _conv_clamp(source),
    }


def _conv_clamp(source: Translation) -> float | None:
    """The bound on activations that a generator was trained with."""
    match source.file.settings:
        case {"G_ema.init_kwargs": {"synthesis_kwargs": {"conv_clamp": int() | float() as clamp}}}:
            return float(clamp)
    return None


def average_latent(generator: Generator) -> Tensor:
    """Mean of w (w_dim,) over draws of z from a fixed seed."""
    z = torch.randn(AVERAGE_DRAWS, generator.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return map_latents(generator, z).mean(dim=0)


# ---------------------------------------------------------------------------------------------------------
# Encoders


def build_encoder(card: EncoderCard, source: Translation) -> AnyEncoder:
    """The encoder of the card's kind, with as many heads as its file has, and w_avg zero if it has none.

    Raises:
        UnknownLayout: the file holds no encoder, an incomplete one or one of another kind.
    """
    state = source.part("encoder")
    kind = _encoder_kind(state, source)
    if kind != card.kind:
        raise UnknownLayout(
            f"{source.file.path}: holds an encoder of kind {kind}, and the card says {card.kind}; correct it"
        )
    encoder = empty(lambda: _construct_encoder(card, state, source))
    return fill(encoder, {"w_avg": torch.zeros(encoder.w_avg.shape), **state}, source)


def _encoder_kind(state: State, source: Translation) -> str:
    if source.layout == "oodinv":
        return str(source.file.settings["kind"])
    if "heads.0.weight" in state:
        return "feature_style"
    return "e4e" if "lateral_32.weight" in state else "restyle"


def _construct_encoder(card: EncoderCard, state: State, source: Translation) -> AnyEncoder:
    if source.layout == "oodinv":
        encoder = native.construct(card.kind, _own_config(source), source.file.path)
        assert isinstance(encoder, AnyEncoder)
        if isinstance(card, RestyleCard) and isinstance(encoder, Restyle):
            encoder.passes = card.passes
        return encoder
    num_ws = len(_numbers(state, r"heads\.(\d+)\..*"))
    match card:
        case E4eCard():
            return E4e(num_ws=num_ws, w_dim=_shape(state, "heads.0.linear.bias", source)[0])
        case RestyleCard(passes=passes):
            w_dim = _shape(state, "heads.0.linear.bias", source)[0]
            return Restyle(num_ws=num_ws, w_dim=w_dim, passes=passes)
        case FeatureStyleCard():
            return FeatureStyle(num_ws=num_ws, w_dim=_shape(state, "heads.0.bias", source)[0])
        case PyramidCard():
            raise UnknownLayout(f"{source.file.path}: is no file of oodinv's own, as a pyramid encoder has to be")


# ---------------------------------------------------------------------------------------------------------
# SAMM, and the networks that losses look through


def build_samm(card: SammCard, source: Translation) -> Samm:
    """SAMM at the sizes that the card names; the file's others are left out.

    Raises:
        UnknownLayout: the file holds no SAMM, an incomplete one, or not all of the card's sizes.
    """
    state = source.part("samm")
    there = _numbers(state, r"project\.(\d+)\.bias")
    if missing := sorted(set(card.sizes) - set(there)):
        raise UnknownLayout(
            f"{source.file.path}: has no SAMM for size {summarise(map(str, missing))}, only for {there}; "
            "correct samm.sizes in the card"
        )
    weights = {size: _shape(state, f"project.{size}.weight", source) for size in card.sizes}
    channels = {size: shape[0] for size, shape in weights.items()}
    taps = {size: shape[1] for size, shape in weights.items()}
    samm = empty(lambda: Samm(channels, taps, cycles=card.cycles, flow_range=card.flow_range))
    used = {k: v for k, v in state.items() if int(k.split(".")[1]) in card.sizes}
    return fill(samm, used, source)


def build_lpips(backbone: PerceptualBackbone, source: Translation) -> Lpips:
    """LPIPS.

    Raises:
        UnknownLayout: the file holds no LPIPS, or one with the other backbone.
    """
    return fill(Lpips(backbone), source.part("lpips"), source)


def build_vgg19(source: Translation) -> Vgg19:
    """VGG19's convolutions.

    Raises:
        UnknownLayout: the file holds no VGG19.
    """
    return fill(Vgg19(), source.part("vgg19"), source)


def build_recognition(source: Translation) -> Recognition:
    """ArcFace with the IR-SE-50 backbone.

    Raises:
        UnknownLayout: the file holds no such network.
    """
    return fill(Recognition(), source.part("recognition"), source)


def build_inception(source: Translation) -> Inception:
    """The InceptionV3 that FID is defined with.

    Raises:
        UnknownLayout: the file holds no such network.
    """
    return fill(empty(Inception), source.part("inception"), source)
