"""Builds modules from translated weight files: sizes are read from tensor shapes, values are loaded strictly."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from oodinv.errors import UnknownLayout, WeightsError
from oodinv.models import encoders, generators
from oodinv.models.encoders.base import Encoder, EncoderCard
from oodinv.models.generators.base import Generator, GeneratorCard, map_latents
from oodinv.models.naming import State, numbers, shape
from oodinv.models.perceptors.arcface import Recognition
from oodinv.models.perceptors.inception import Inception
from oodinv.models.perceptors.lpips import Lpips
from oodinv.models.perceptors.vgg19 import Vgg19
from oodinv.models.samm import Samm
from oodinv.recipe.card import SammCard
from oodinv.weights import native
from oodinv.weights.translation import Translation, summarise

AVERAGE_DRAWS = 10_000
"""Number of latents to average if a generator's file lacks the average latent."""

M = TypeVar("M", bound=nn.Module)


# ---------------------------------------------------------------------------------------------------------
# Reading sizes and filling


def empty(construct: Callable[[], M]) -> M:
    """Constructs a module without initialising its values."""
    with torch.device("meta"):
        return construct()


def fill(module: M, state: State, source: Translation) -> M:
    """Loads values into a module strictly and turns off its gradients.

    Raises:
        UnknownLayout: a value is missing, unexpected, or of another shape.
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


def _own_config(source: Translation) -> dict[str, Any]:
    """Reads the description of the module from a file in the project's own format."""
    text = source.file.settings.get("config")
    try:
        config = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise WeightsError(f"{source.file.path}: its description is damaged; get the file again")
    return config


# ---------------------------------------------------------------------------------------------------------
# Generators and encoders


def kind_of(source: Translation, part: Literal["generator", "encoder"]) -> str:
    """Returns the family of a file's generator or encoder.

    Raises:
        UnknownLayout: the file has none, or one of an unknown family.
    """
    state = source.part(part)
    if source.layout == "oodinv":
        return str(source.file.settings["kind"])
    families: Sequence[type[Generator | Encoder]] = generators.GENERATORS if part == "generator" else encoders.ENCODERS
    for family in families:
        if any(re.fullmatch(family.mark, key) for key in state):
            return family.kind
    raise UnknownLayout(f"{source.file.path}: holds no complete {part}; use the file as its authors published it")


def _checked_kind(source: Translation, part: Literal["generator", "encoder"], wanted: str | None) -> str:
    kind = kind_of(source, part)
    if wanted not in (None, kind):
        raise UnknownLayout(
            f"{source.file.path}: holds {'an' if part == 'encoder' else 'a'} {part} of kind {kind}, and the card says "
            f"{wanted}; correct it"
        )
    return kind


def config_of(source: Translation, part: Literal["generator", "encoder"]) -> dict[str, Any]:
    """Returns the constructor arguments of a file's generator or encoder.

    Raises:
        UnknownLayout: the file has none, or an incomplete one. WeightsError: its description is damaged.
    """
    if source.layout == "oodinv":
        return _own_config(source)
    family = native.family_of(kind_of(source, part))
    assert family is not None
    assert not issubclass(family, Samm)
    try:
        return family.arguments(source.part(part), source.file.settings)
    except ValueError as error:
        raise UnknownLayout(f"{source.file.path}: its {part} can't be built: it {error}") from error


def build_generator(source: Translation, card: GeneratorCard | None = None) -> Generator:
    """Builds a generator; sizes, channels, widths and depth follow from its tensors.

    card: requires this kind of generator. If the file lacks the average latent, it is the mean of 10,000 samples with a
    fixed seed.

    Raises:
        UnknownLayout: the file has no generator, an incomplete one or one of another kind.
    """
    state = source.part("generator")
    kind = _checked_kind(source, "generator", None if card is None else card.kind)
    config = config_of(source, "generator")
    generator = empty(lambda: native.construct(kind, config, source.file.path))
    assert isinstance(generator, Generator)
    if "w_avg" in state:
        return fill(generator, state, source)
    if source.average is not None:
        rows = source.average.reshape(-1, source.average.shape[-1])
        return fill(generator, {**state, "w_avg": rows.mean(dim=0)}, source)
    fill(generator, {**state, "w_avg": torch.zeros(generator.w_dim)}, source)
    generator.w_avg = average_latent(generator)
    return generator


def average_latent(generator: Generator) -> Tensor:
    """Mean of w (w_dim,) over samples of z with a fixed seed."""
    z = torch.randn(AVERAGE_DRAWS, generator.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return map_latents(generator, z).mean(dim=0)


def build_encoder(source: Translation, card: EncoderCard | None = None) -> Encoder:
    """Builds an encoder; w_avg is zero if the file lacks it. card: requires this kind, and gives its settings.

    Raises:
        UnknownLayout: the file has no encoder, an incomplete one or one of another kind.
    """
    state = source.part("encoder")
    kind = _checked_kind(source, "encoder", None if card is None else card.kind)
    config, settings = config_of(source, "encoder"), {} if card is None else card.settings()
    encoder = empty(lambda: native.construct(kind, config, source.file.path, **settings))
    assert isinstance(encoder, Encoder)
    return fill(encoder, {"w_avg": torch.zeros(encoder.w_avg.shape), **state}, source)


# ---------------------------------------------------------------------------------------------------------
# SAMM, and the networks that losses look through


def build_samm(card: SammCard, source: Translation) -> Samm:
    """Builds SAMM for the card's sizes; others in the file are ignored.

    Raises:
        UnknownLayout: the file has no SAMM, an incomplete one, or not all of the card's sizes.
    """
    state = source.part("samm")
    there = numbers(state, r"project\.(\d+)\.bias")
    if missing := sorted(set(card.sizes) - set(there)):
        raise UnknownLayout(
            f"{source.file.path}: has no SAMM for size {summarise(map(str, missing))}, only for {there}; "
            "correct samm.sizes in the card"
        )
    try:
        project = {size: shape(state, f"project.{size}.weight") for size in card.sizes}
        squeezed = any(key.startswith("squeeze.") for key in state)
        squeeze = {size: shape(state, f"squeeze.{size}.weight") for size in card.sizes if squeezed}
    except ValueError as error:
        raise UnknownLayout(f"{source.file.path}: {error}; it is not complete") from error
    width = project[card.sizes[0]][0] if squeezed else None
    if card.channels not in (None, width):
        raise UnknownLayout(
            f"{source.file.path}: projects features to {width or 'no'} channels, and the card says {card.channels}; "
            "correct samm.channels"
        )
    channels = {size: squeeze[size][1] if squeezed else project[size][0] for size in card.sizes}
    taps = {size: project[size][1] for size in card.sizes}
    samm = empty(lambda: Samm(channels, taps, cycles=card.cycles, flow_range=card.flow_range, width=width))
    used = {k: v for k, v in state.items() if int(k.split(".")[1]) in card.sizes}
    return fill(samm, used, source)


def build_lpips(backbone: str, source: Translation) -> Lpips:
    """Builds LPIPS.

    Raises:
        UnknownLayout: the file has no LPIPS, or one with another backbone.
    """
    return fill(Lpips(backbone), source.part("lpips"), source)


def build_vgg19(source: Translation) -> Vgg19:
    """Builds the convolutions of VGG19.

    Raises:
        UnknownLayout: the file has no VGG19.
    """
    return fill(Vgg19(), source.part("vgg19"), source)


def build_recognition(source: Translation) -> Recognition:
    """Builds ArcFace with the IR-SE-50 backbone.

    Raises:
        UnknownLayout: the file has no such network.
    """
    return fill(Recognition(), source.part("recognition"), source)


def build_inception(source: Translation) -> Inception:
    """Builds the InceptionV3 of FID's definition.

    Raises:
        UnknownLayout: the file has no such network.
    """
    return fill(empty(Inception), source.part("inception"), source)
