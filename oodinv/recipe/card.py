"""Model cards: the files of a model's parts, and the framing of its crops."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializeAsAny,
    model_validator,
)

from oodinv.errors import RecipeError, suggestion
from oodinv.faces.framing import find_framing
from oodinv.faces.framing.ffhq import FFHQ
from oodinv.faces.quads import Points
from oodinv.models.encoders.base import EncoderCard
from oodinv.models.generators.base import GeneratorCard
from oodinv.recipe.base import Name, Size, data_folder, read_yaml
from oodinv.recipe.kinds import by_kind, encoder_cards, generator_cards
from oodinv.records import Strict

CropScale = Annotated[float, Field(gt=0.2, le=4)]


def _known_framing(name: str) -> str:
    return find_framing(name).name


class Crop(Strict):
    """Framing of crops, by name; scale < 1 is tighter."""

    framing: Annotated[str, AfterValidator(_known_framing)] = FFHQ.name
    scale: CropScale = 1.0

    def quad(self, points: Points) -> Points:
        """Corners (4, 2) of the crop around a face with these five points (5, 2)."""
        return find_framing(self.framing).quad(points, self.scale)


DEFAULT_KIND = GeneratorCard.model_fields["kind"].default

AnyGeneratorCard = Annotated[SerializeAsAny[GeneratorCard], BeforeValidator(by_kind(generator_cards, DEFAULT_KIND))]
"""The `generator:` of a card, of any family, by default StyleGAN2."""

AnyEncoderCard = Annotated[SerializeAsAny[EncoderCard], BeforeValidator(by_kind(encoder_cards))]
"""The `encoder:` of a card, of any family."""


class SammCard(Strict):
    """The spatial alignment and masking module: sizes, cycles and flow range of its training.

    channels: number to which features are projected at each size; by default that of the file, which in the published
    layout, where only encoder features are projected, is the generator's.
    """

    weights: str
    sizes: list[Size] = Field(default_factory=lambda: [32, 64, 128, 256], min_length=1)
    cycles: PositiveInt = 2
    flow_range: Annotated[float, Field(gt=0, le=1)] = 0.08
    channels: PositiveInt | None = None

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        if sorted(set(self.sizes)) != self.sizes:
            raise ValueError("samm.sizes must rise and name each size once")
        return self


class PreviewCard(Strict):
    """Preview heads of the generator, which make refinement cheap."""

    weights: str


class GeneratorOnlyCard(Strict):
    """The part of a card that `oodinv train encoder` needs; also the card of a generator without an encoder.

    refine, tune: optimisation steps of each face's codes, and of the generator before an edit of a face, unless a
    command sets them.
    """

    name: Name
    size: Size
    crop: Crop = Crop()
    generator: AnyGeneratorCard
    encoder: AnyEncoderCard | None = None
    samm: SammCard | None = None
    preview: PreviewCard | None = None
    refine: NonNegativeInt = 0
    tune: NonNegativeInt = 0
    licence: str
    description: str = ""


class ModelCard(GeneratorOnlyCard):
    """A model: the files of its parts, and the framing of its crops."""

    encoder: AnyEncoderCard


def find_card(model: str) -> Path:
    """Path of a model card: `FILE.yaml` is a path, any other text the name of a shipped model.

    Raises:
        RecipeError: there is no such card; the message lists the names.
    """
    if model.endswith((".yaml", ".yml")):
        path = Path(model)
        if not path.is_file():
            raise RecipeError(f"there is no model card {path}; pass a YAML file, or one of {_card_names()}")
        return path
    path = data_folder("pretrained") / f"{model}.yaml"
    if Path(model).name != model or not path.is_file():
        raise RecipeError(
            f"no model is named {model!r}; there are {_card_names()}, or pass a card as FILE.yaml"
            f"{suggestion(model, card_names())}"
        )
    return path


def card_names() -> list[str]:
    """Names of the shipped models."""
    return sorted(p.stem for p in data_folder("pretrained").glob("*.yaml"))


def _card_names() -> str:
    return ", ".join(card_names()) or "none"


def read_card(path: Path) -> ModelCard:
    """Reads a model card.

    Raises:
        RecipeError: the file can't be read or doesn't validate.
    """
    card: ModelCard = read_yaml(path, ModelCard)
    return card
