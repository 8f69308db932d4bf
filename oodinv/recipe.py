"""Model cards and recipes: what a YAML file may say, checked before anything runs.

Unknown keys, wrong types and contradictions raise `RecipeError` with the file's name and the key.
"""

import importlib.resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from oodinv.errors import RecipeError


class Strict(BaseModel):
    """A frozen record that rejects keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _check_power_of_two(size: int) -> int:
    if size < 8 or size & (size - 1):
        raise ValueError("must be a power of two of at least 8")
    return size


Size = Annotated[int, pydantic.AfterValidator(_check_power_of_two)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Fraction = Annotated[float, Field(ge=0, le=1)]

# ---------------------------------------------------------------------------------------------------------
# Model cards (DESIGN §2)


class Crop(Strict):
    """How photos are cropped: FFHQ's framing, `scale` < 1 for a tighter one."""

    framing: Literal["ffhq"] = "ffhq"
    scale: Annotated[float, Field(gt=0.2, le=4)] = 1.0


class GeneratorCard(Strict):
    """A StyleGAN2 generator and the file that holds it."""

    kind: Literal["stylegan2"] = "stylegan2"
    weights: str


class E4eCard(Strict):
    """The encoder of encoder4editing."""

    kind: Literal["e4e"]
    weights: str
    average: str | None = None


class RestyleCard(Strict):
    """The ReStyle encoder with an e4e backbone; `passes` refinements."""

    kind: Literal["restyle"]
    weights: str
    average: str | None = None
    passes: PositiveInt = 5


class FeatureStyleCard(Strict):
    """The Feature-Style encoder, its content feature left out."""

    kind: Literal["feature_style"]
    weights: str
    average: str | None = None


class PyramidCard(Strict):
    """The project's own small encoder."""

    kind: Literal["pyramid"]
    weights: str
    average: str | None = None


EncoderCard = Annotated[E4eCard | RestyleCard | FeatureStyleCard | PyramidCard, Field(discriminator="kind")]


class SammCard(Strict):
    """The spatial alignment and masking module: sizes, cycles and flow range as it was trained."""

    weights: str
    sizes: Annotated[list[Size], Field(min_length=1)] = [32, 64, 128, 256]
    cycles: PositiveInt = 2
    flow_range: Annotated[float, Field(gt=0, le=1)] = 0.08

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        if sorted(set(self.sizes)) != self.sizes:
            raise ValueError("samm.sizes must rise and name each size once")
        return self


class ModelCard(Strict):
    """A model: where its parts come from and how photos are cropped for it."""

    name: Name
    size: Size
    crop: Crop = Crop()
    generator: GeneratorCard
    encoder: EncoderCard
    samm: SammCard | None = None
    licence: str
    description: str = ""


# ---------------------------------------------------------------------------------------------------------
# Training recipes


class FaceFolder(Strict):
    """Photos to train on, searched recursively; a twentieth is held out by the hash of each file.

    Photos are cropped to their largest face; with `aligned` they are crops already.
    """

    folder: str
    size: Size
    crop: Crop = Crop()
    aligned: bool = False
    flip: bool = True


class Adversarial(Strict):
    """Non-saturating logistic loss against a StyleGAN2 discriminator with lazy R1."""

    weight: Annotated[float, Field(ge=0)]
    start: Annotated[int, Field(ge=0)] = 0
    r1: Annotated[float, Field(ge=0)] = 1.0
    r1_interval: PositiveInt = 16
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    channels: dict[int, PositiveInt] | None = None


class Schedule(Strict):
    """How long, in which batches, and how often to look. Steps count optimiser updates."""

    steps: PositiveInt
    batch: PositiveInt
    learning_rate: Annotated[float, Field(gt=0)]
    final_learning_rate_share: Fraction = 1.0
    warmup: Annotated[int, Field(ge=0)] = 0
    ema_images: PositiveInt = 10000
    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    log_every: PositiveInt = 20
    evaluate_every: PositiveInt = 500
    checkpoint_every: PositiveInt = 500


class JointRecipe(Strict):
    """Encoder and generator trained together as an autoencoder: L1 + LPIPS + a light adversarial term."""

    kind: Literal["joint"]
    name: Name
    licence: str
    description: str = ""
    data: FaceFolder
    schedule: Schedule
    w_dim: PositiveInt = 256
    generator_channels: dict[int, PositiveInt]
    encoder_channels: dict[int, PositiveInt]
    encoder_hidden: PositiveInt = 512
    encoder_learning_rate_share: Annotated[float, Field(gt=0)] = 0.2
    l1: Annotated[float, Field(ge=0)] = 1.0
    lpips: Annotated[float, Field(ge=0)] = 1.0
    adversarial: Adversarial | None = None


class SammRecipe(Strict):
    """SAMM trained with encoder and generator fixed (METHOD §4)."""

    kind: Literal["samm"]
    name: Name
    model: str
    data: FaceFolder
    schedule: Schedule
    sizes: Annotated[list[Size], Field(min_length=1)]
    cycles: PositiveInt = 2
    flow_range: Annotated[float, Field(gt=0, le=1)] = 0.08
    start_steps: dict[int, int]
    mse: Annotated[float, Field(ge=0)] = 1.0
    lpips: Annotated[float, Field(ge=0)] = 1.0
    mask: Annotated[float, Field(ge=0)] = 5.0
    binary: Annotated[float, Field(ge=0)] = 0.04
    area: dict[int, Fraction]
    final_area: Fraction = 0.2

    @model_validator(mode="after")
    def _every_size(self) -> Self:
        for key, table in (("start_steps", self.start_steps), ("area", self.area)):
            if sorted(table) != self.sizes:
                raise ValueError(f"{key} must have one entry for each of sizes {self.sizes}, it has {sorted(table)}")
        return self


TrainRecipe = Annotated[JointRecipe | SammRecipe, Field(discriminator="kind")]

# ---------------------------------------------------------------------------------------------------------
# Reading

T = TypeVar("T")


def _explain(error: pydantic.ValidationError) -> str:
    lines = (f"  {'.'.join(str(k) for k in e['loc']) or '(whole file)'}: {e['msg']}" for e in error.errors())
    return "\n".join(lines)


def parse_yaml(text: str, form: Any, source: str) -> Any:
    """Validates YAML text against a pydantic model or a union of models; `source` names it in errors.

    Raises:
        RecipeError: not YAML, not a mapping, or it doesn't validate.
    """
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{source} holds no mapping of keys to values; see the recipes that come with oodinv")
    try:
        return pydantic.TypeAdapter(form).validate_python(data)
    except pydantic.ValidationError as error:
        raise RecipeError(f"{source} does not say what it must:\n{_explain(error)}") from error


def read_yaml(path: Path, form: Any) -> Any:
    """Reads and validates a YAML file.

    Raises:
        RecipeError: the file can't be read or doesn't validate.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"can't read {path}: {error}") from error
    return parse_yaml(text, form, str(path))


def data_folder(name: Literal["recipes", "pretrained"]) -> Path:
    """Folder of shipped recipes or models: beside the package in a checkout, inside it when installed."""
    package = Path(str(importlib.resources.files("oodinv")))
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name


def find_card(model: str) -> Path:
    """Path of a model card: `FILE.yaml` is a path, any other text the name of a shipped model.

    Raises:
        RecipeError: there is no such card; lists the names there are.
    """
    if model.endswith((".yaml", ".yml")):
        path = Path(model)
        if not path.is_file():
            raise RecipeError(f"there is no model card {path}; pass a YAML file, or one of {_card_names()}")
        return path
    path = data_folder("pretrained") / f"{model}.yaml"
    if Path(model).name != model or not path.is_file():
        raise RecipeError(f"no model is named {model!r}; there are {_card_names()}, or pass a card as FILE.yaml")
    return path


def _card_names() -> str:
    return ", ".join(sorted(p.stem for p in data_folder("pretrained").glob("*.yaml"))) or "none"


def find_train_recipe(recipe: str, data: Path | None) -> JointRecipe | SammRecipe:
    """A training recipe by the name of a shipped one or as FILE.yaml, its data folder replaced if given.

    Raises:
        RecipeError: there is no such recipe, or it doesn't validate.
    """
    shipped = data_folder("recipes") / "train"
    path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else shipped / f"{recipe}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in shipped.glob("*.yaml")))
        raise RecipeError(f"there is no training recipe {path}; pass a FILE.yaml, or one of {names}")
    settings: JointRecipe | SammRecipe = read_yaml(path, TrainRecipe)
    if data is None:
        return settings
    return settings.model_copy(update={"data": settings.data.model_copy(update={"folder": str(data)})})


def read_card(path: Path) -> ModelCard:
    """Reads a model card.

    Raises:
        RecipeError: the file can't be read or doesn't validate.
    """
    card: ModelCard = read_yaml(path, ModelCard)
    return card
