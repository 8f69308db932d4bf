"""What a finished or unfinished training run leaves for `invert`: weights and a model card."""

import os
from pathlib import Path

import yaml

from oodinv.image import atomic_write
from oodinv.models.pyramid import PyramidEncoder
from oodinv.models.samm import Samm
from oodinv.models.stylegan2 import Generator
from oodinv.recipe import GeneratorCard, JointRecipe, ModelCard, PyramidCard, SammCard, SammRecipe
from oodinv.weights import own


def write_card(path: Path, card: ModelCard) -> Path:
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
    own.save(folder / encoder_file, encoder)
    own.save(folder / generator_file, generator)
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


def write_samm(folder: Path, recipe: SammRecipe, base: ModelCard, base_path: Path, samm: Samm) -> Path:
    """Writes SAMM and a card that joins it to the model it was trained on; returns the card's path."""
    folder.mkdir(parents=True, exist_ok=True)
    samm_file = f"{recipe.name}-samm.safetensors"
    own.save(folder / samm_file, samm)
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
