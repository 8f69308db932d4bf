"""What a finished or unfinished training run leaves for `invert`: weights and a model card."""

import os
from pathlib import Path

import torch
import yaml

from oodinv.imaging.files import atomic_write
from oodinv.models.encoders.e4e import E4e
from oodinv.models.encoders.feature_style import FeatureStyle
from oodinv.models.encoders.pyramid import PyramidEncoder
from oodinv.models.encoders.restyle import Restyle
from oodinv.models.generators.stylegan2 import Generator
from oodinv.models.samm import Samm
from oodinv.recipe.card import (
    E4eCard,
    EncoderCard,
    FeatureStyleCard,
    GeneratorCard,
    GeneratorOnlyCard,
    ModelCard,
    PyramidCard,
    RestyleCard,
    SammCard,
)
from oodinv.recipe.train import EncoderRecipe, GeneratorRecipe, JointRecipe, SammRecipe
from oodinv.weights import native
from oodinv.weights.families import AnyEncoder


def write_card(path: Path, card: GeneratorOnlyCard) -> Path:
    """Writes a model card as YAML and returns its path."""
    text = yaml.safe_dump(card.model_dump(exclude_none=True), sort_keys=False, allow_unicode=True)
    atomic_write(path, lambda file: file.write(text.encode()))
    return path


def write_joint(folder: Path, recipe: JointRecipe, encoder: PyramidEncoder, generator: Generator) -> Path:
    """Writes an encoder, a generator and a card without SAMM into `folder`; returns the card's path."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder_file, generator_file = (
        f"{recipe.name}-encoder.safetensors",
        f"{recipe.name}-generator.safetensors",
    )
    native.save(folder / encoder_file, encoder)
    native.save(folder / generator_file, generator)
    card = ModelCard(
        name=recipe.name,
        size=recipe.data.size,
        crop=recipe.data.crop,
        generator=GeneratorCard(weights=generator_file),
        encoder=PyramidCard(kind="pyramid", weights=encoder_file),
        licence=recipe.licence,
        description=recipe.description,
    )
    return write_card(folder / f"{recipe.name}.yaml", card)


def write_generator(folder: Path, recipe: GeneratorRecipe, generator: Generator) -> Path:
    """Writes a generator and a card that has no encoder yet into `folder`; returns the card's path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = f"{recipe.name}-generator.safetensors"
    native.save(folder / file, generator)
    card = GeneratorOnlyCard(
        name=recipe.name,
        size=recipe.data.size,
        crop=recipe.data.crop,
        generator=GeneratorCard(weights=file),
        licence=recipe.licence,
        description=recipe.description,
    )
    return write_card(folder / f"{recipe.name}.yaml", card)


def write_encoder(
    folder: Path, recipe: EncoderRecipe, base: GeneratorOnlyCard, base_path: Path, encoder: AnyEncoder
) -> Path:
    """Writes an encoder and a card that joins it to its generator; returns the card's path.

    In float32: a deep network's running variances may be beyond what float16 holds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = f"{recipe.name}-encoder.safetensors"
    native.save(folder / file, encoder, torch.float32)
    card = ModelCard(
        name=recipe.name,
        size=base.size,
        crop=base.crop,
        generator=base.generator.model_copy(update={"weights": _from(base_path, base.generator.weights, folder)}),
        encoder=encoder_card(encoder, file),
        licence=recipe.licence,
        description=recipe.description,
    )
    return write_card(folder / f"{recipe.name}.yaml", card)


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


def write_samm(folder: Path, recipe: SammRecipe, base: ModelCard, base_path: Path, samm: Samm) -> Path:
    """Writes SAMM and a card that joins it to the model it was trained on; returns the card's path."""
    folder.mkdir(parents=True, exist_ok=True)
    samm_file = f"{recipe.name}-samm.safetensors"
    native.save(folder / samm_file, samm)
    encoder_files = {"weights": _from(base_path, base.encoder.weights, folder)}
    if base.encoder.average is not None:
        encoder_files["average"] = _from(base_path, base.encoder.average, folder)
    card = ModelCard(
        name=recipe.name,
        size=base.size,
        crop=base.crop,
        generator=base.generator.model_copy(update={"weights": _from(base_path, base.generator.weights, folder)}),
        encoder=base.encoder.model_copy(update=encoder_files),
        samm=SammCard(weights=samm_file, sizes=recipe.sizes, cycles=recipe.cycles, flow_range=recipe.flow_range),
        licence=base.licence,
        description=base.description,
    )
    return write_card(folder / f"{recipe.name}.yaml", card)


def _from(card: Path, weights: str, folder: Path) -> str:
    """A card's path as seen from another folder; a catalog name stays what it is."""
    path = card.parent / weights
    return os.path.relpath(path, folder) if path.is_file() else weights
