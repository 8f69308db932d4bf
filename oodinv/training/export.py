"""Writes the cards of trained models."""

import os
from pathlib import Path

import yaml

from oodinv.imaging.files import atomic_write
from oodinv.models.encoders.e4e import E4e
from oodinv.models.encoders.feature_style import FeatureStyle
from oodinv.models.encoders.pyramid import PyramidEncoder
from oodinv.models.encoders.restyle import Restyle
from oodinv.recipe.card import (
    E4eCard,
    EncoderCard,
    FeatureStyleCard,
    GeneratorOnlyCard,
    PyramidCard,
    RestyleCard,
)
from oodinv.weights.families import AnyEncoder


def write_card(path: Path, card: GeneratorOnlyCard) -> Path:
    """Writes a model card as YAML and returns its path."""
    text = yaml.safe_dump(card.model_dump(exclude_none=True), sort_keys=False, allow_unicode=True)
    atomic_write(path, lambda file: file.write(text.encode()))
    return path


def encoder_card(encoder: AnyEncoder, file: str) -> EncoderCard:
    """What a card says of an encoder in `file`."""
    match encoder:
        case E4e():
            return E4eCard(kind="e4e", weights=file)
        case Restyle(passes=passes):
            return RestyleCard(kind="restyle", weights=file, passes=passes)
        case FeatureStyle():
            return FeatureStyleCard(kind="feature_style", weights=file)
        case PyramidEncoder():
            return PyramidCard(kind="pyramid", weights=file)


def relative_weights(card: Path, weights: str, folder: Path) -> str:
    """A card's weights, relative to another folder; the name of a catalog entry is returned unchanged."""
    path = card.parent / weights
    return os.path.relpath(path, folder) if path.is_file() else weights
