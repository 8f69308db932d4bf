"""Writes the cards of trained models."""

import os
from pathlib import Path

import torch
import yaml

from oodinv.imaging.files import atomic_write
from oodinv.models.encoders.base import Encoder, EncoderCard
from oodinv.models.generators.base import Generator, GeneratorCard
from oodinv.recipe.card import GeneratorOnlyCard, ModelCard
from oodinv.weights import native


def write_card(path: Path, card: GeneratorOnlyCard) -> Path:
    """Writes a model card as YAML and returns its path."""
    text = yaml.safe_dump(card.model_dump(exclude_none=True), sort_keys=False, allow_unicode=True)
    atomic_write(path, lambda file: file.write(text.encode()))
    return path


def generator_card(generator: Generator, file: str) -> GeneratorCard:
    """The `generator:` of a card whose generator is in `file`."""
    return generator.card(kind=generator.kind, weights=file)


def encoder_card(encoder: Encoder, file: str) -> EncoderCard:
    """The `encoder:` of a card whose encoder is in `file`."""
    return encoder.card(kind=encoder.kind, weights=file, **encoder.settings())


def relative_weights(card: Path, weights: str, folder: Path) -> str:
    """A card's weights, relative to another folder; the name of a catalog entry is returned unchanged."""
    path = card.parent / weights
    return os.path.relpath(path, folder) if path.is_file() else weights


def write_encoder(
    folder: Path,
    name: str,
    base: GeneratorOnlyCard,
    base_path: Path,
    encoder: Encoder,
    dtype: torch.dtype,
    *,
    licence: str,
    description: str,
) -> Path:
    """Writes an encoder and a card that joins it to its generator; returns the card's path.

    dtype: float32 for networks with batch norm, whose running variances may exceed the range of float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = f"{name}-encoder.safetensors"
    native.save(folder / file, encoder, dtype)
    weights = relative_weights(base_path, base.generator.weights, folder)
    card = ModelCard(
        name=name,
        size=base.size,
        crop=base.crop,
        generator=base.generator.model_copy(update={"weights": weights}),
        encoder=encoder_card(encoder, file),
        licence=licence,
        description=description,
    )
    return write_card(folder / f"{name}.yaml", card)
