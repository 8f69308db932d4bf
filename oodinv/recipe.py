"""Model cards and recipes: what a YAML file may say, checked before anything runs.

Unknown keys, wrong types and contradictions raise `RecipeError` with the file's name and the key.
"""

import importlib.resources
import os
from collections.abc import Mapping
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


class GeneratorOnlyCard(Strict):
    """What `oodinv train encoder` reads of a card: its generator. Written for a generator that has no encoder yet."""

    name: Name
    size: Size
    crop: Crop = Crop()
    generator: GeneratorCard
    encoder: EncoderCard | None = None
    samm: SammCard | None = None
    licence: str
    description: str = ""


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
    """Non-saturating logistic loss against a StyleGAN2 discriminator with lazy R1 (none with r1: 0)."""

    weight: Annotated[float, Field(ge=0)]
    start: Annotated[int, Field(ge=0)] = 0
    r1: Annotated[float, Field(ge=0)] = 1.0
    r1_interval: PositiveInt = 16
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    channels: dict[int, PositiveInt] | None = None


class StepDecay(Strict):
    """The learning rate is multiplied by `share` every `every` steps."""

    share: Annotated[float, Field(gt=0, le=1)]
    every: PositiveInt


class Perceptual(Strict):
    """VGG19's features before ReLU: L1 of the features, and of their Gram matrices (style)."""

    weights: str = "vgg19-dcbb9e9d.pth"
    weight: Annotated[float, Field(ge=0)] = 1.0
    style: Annotated[float, Field(ge=0)] = 50.0


class Identity(Strict):
    """1 − cosine between ArcFace embeddings of the inner faces."""

    weights: str = "model_ir_se50.pth"
    weight: Annotated[float, Field(ge=0)] = 0.1


Missing = Literal["refuse", "allow"]
"""What becomes of a loss whose network is not there."""

LpipsBackbone = Literal["alexnet", "vgg16"]


class Schedule(Strict):
    """How long, in which batches, and how often to look. Steps count optimiser updates.

    A batch of a SAMM recipe is computed in `accumulate` pieces, one after another, to fit into memory; what looks
    at a batch as a whole (mean mask area, the discriminator's deviation) then looks at a piece. The averaged weights
    forget with a half-life of `ema_images` images, or by the constant `ema_decay` a step.
    """

    steps: PositiveInt
    batch: PositiveInt
    learning_rate: Annotated[float, Field(gt=0)]
    final_learning_rate_share: Fraction = 1.0
    warmup: Annotated[int, Field(ge=0)] = 0
    decay: StepDecay | None = None
    accumulate: PositiveInt = 1
    ema_images: PositiveInt = 10000
    ema_decay: Annotated[float, Field(ge=0, lt=1)] | None = None
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

    @model_validator(mode="after")
    def _channel_tables(self) -> Self:
        sizes = sizes_from_four(self.data.size)
        check_one_piece(self.schedule)
        check_sizes("generator_channels", self.generator_channels, sizes)
        check_sizes("encoder_channels", self.encoder_channels, sizes)
        check_adversarial(self.adversarial, sizes)
        if self.data.size < 16:
            raise ValueError("data.size must be at least 16: the encoder's head looks at maps of 16, 8 and 4 px")
        return self


class SammRecipe(Strict):
    """SAMM trained with encoder and generator fixed (METHOD §4).

    `occluders`: share of the training faces that get a shape, letters, a hat or a limb pasted on; `uncovered`: weight
    of the share of them that the mask leaves to the generator. `face_area`: most that the mask may copy of those faces
    beside what is pasted on, inside an FFHQ crop, as `area` and `final_area` are of the whole picture: the mask is
    there for what lies on the face.
    """

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
    lpips_backbone: LpipsBackbone = "alexnet"
    perceptual: Perceptual | None = None
    identity: Identity | None = None
    adversarial: Adversarial | None = None
    missing: Missing = "refuse"
    occluders: Fraction = 0.0
    uncovered: Annotated[float, Field(ge=0)] = 0.0
    mask: Annotated[float, Field(ge=0)] = 5.0
    binary: Annotated[float, Field(ge=0)] = 0.04
    area: dict[int, Fraction]
    final_area: Fraction = 0.2
    face_area: Fraction = 1.0

    @model_validator(mode="after")
    def _every_size(self) -> Self:
        for key, table in (("start_steps", self.start_steps), ("area", self.area)):
            if sorted(table) != self.sizes:
                raise ValueError(f"{key} must have one entry for each of sizes {self.sizes}, it has {sorted(table)}")
        check_adversarial(self.adversarial, sizes_from_four(self.data.size))
        return self


class AnyE4e(Strict):
    """An e4e encoder to train."""

    kind: Literal["e4e"]


class AnyRestyle(Strict):
    """A ReStyle encoder to train; `passes` refinements, in training too."""

    kind: Literal["restyle"]
    passes: PositiveInt = 5


class AnyFeatureStyle(Strict):
    """A Feature-Style encoder to train, its content feature left out."""

    kind: Literal["feature_style"]


class AnyPyramid(Strict):
    """The project's own small encoder, to train."""

    kind: Literal["pyramid"]
    channels: dict[int, PositiveInt]
    hidden: PositiveInt = 512


EncoderPlan = Annotated[AnyE4e | AnyRestyle | AnyFeatureStyle | AnyPyramid, Field(discriminator="kind")]


class Offsets(Strict):
    """Regularised offsets between rows of w_plus; one more row may differ from `start` on every `every` steps."""

    weight: Annotated[float, Field(ge=0)] = 2e-4
    start: Annotated[int, Field(ge=0)] = 20000
    every: PositiveInt = 2000


class LatentAdversarial(Strict):
    """Non-saturating loss against a discriminator of latents, with lazy R1."""

    weight: Annotated[float, Field(ge=0)] = 0.1
    r1: Annotated[float, Field(ge=0)] = 10.0
    r1_interval: PositiveInt = 16
    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    layers: PositiveInt = 4


class EncoderRecipe(Strict):
    """An encoder for a fixed generator, in the manner of e4e.

    `generator`: a card; its encoder, if it has one, is not used. `backbone`: file of a face-recognition network
    to start from. Losses look at images of `loss_size` px. `samples`: weight of the squared error of w_plus on
    images that the generator made of known latents.
    """

    kind: Literal["encoder"]
    name: Name
    licence: str
    description: str = ""
    generator: str
    data: FaceFolder
    schedule: Schedule
    encoder: EncoderPlan
    backbone: str | None = None
    loss_size: Size = 256
    l2: Annotated[float, Field(ge=0)] = 1.0
    lpips: Annotated[float, Field(ge=0)] = 0.8
    lpips_backbone: LpipsBackbone = "alexnet"
    identity: Identity | None = None
    missing: Missing = "refuse"
    offsets: Offsets | None = None
    latent_adversarial: LatentAdversarial | None = None
    samples: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _channel_table(self) -> Self:
        check_one_piece(self.schedule)
        if isinstance(self.encoder, AnyPyramid):
            check_sizes("encoder.channels", self.encoder.channels, sizes_from_four(self.data.size))
        return self


class Augment(Strict):
    """Adaptive augmentation: p moves so that the mean sign of D(real) nears `target`, by 1 in `images` images."""

    target: Fraction = 0.6
    images: PositiveInt = 500_000
    interval: PositiveInt = 4
    start: Fraction = 0.0


class PathLength(Strict):
    """Path length regularisation on a share of the batch, every `interval` steps."""

    weight: Annotated[float, Field(ge=0)] = 2.0
    interval: PositiveInt = 4
    decay: Annotated[float, Field(gt=0, le=1)] = 0.01
    batch_share: Annotated[float, Field(gt=0, le=1)] = 0.5


class GeneratorRecipe(Strict):
    """A StyleGAN2 generator with adaptive discriminator augmentation, from photos alone."""

    kind: Literal["stylegan2"]
    name: Name
    licence: str
    description: str = ""
    data: FaceFolder
    schedule: Schedule
    channels: dict[int, PositiveInt] | None = None
    w_dim: PositiveInt = 512
    z_dim: PositiveInt = 512
    mapping_layers: PositiveInt = 8
    adversarial: Adversarial
    augment: Augment | None = Augment()
    path_length: PathLength | None = PathLength()
    mixing: Fraction = 0.9

    @model_validator(mode="after")
    def _channel_tables(self) -> Self:
        sizes = sizes_from_four(self.data.size)
        check_one_piece(self.schedule)
        if self.channels is not None:
            check_sizes("channels", self.channels, sizes)
        check_adversarial(self.adversarial, sizes)
        return self


def sizes_from_four(size: int) -> list[int]:
    """4, 8, …, size."""
    return [2**n for n in range(2, size.bit_length())]


def check_sizes(key: str, table: Mapping[int, int], sizes: list[int]) -> None:
    """Raises ValueError if a table of channels doesn't have exactly these sizes."""
    if sorted(table) != sizes:
        raise ValueError(f"{key} must have one entry for each of the sizes {sizes}, it has {sorted(table)}")


def check_one_piece(schedule: Schedule) -> None:
    """Raises ValueError if batches are to be computed in pieces where only SAMM's training can."""
    if schedule.accumulate != 1:
        raise ValueError("schedule.accumulate is for kind samm alone; lower schedule.batch")


def check_adversarial(settings: Adversarial | None, sizes: list[int]) -> None:
    """Raises ValueError if the discriminator's table of channels has other sizes."""
    if settings is not None and settings.channels is not None:
        check_sizes("adversarial.channels", settings.channels, sizes)


AnyTrainRecipe = JointRecipe | SammRecipe | EncoderRecipe | GeneratorRecipe
TrainRecipe = Annotated[AnyTrainRecipe, Field(discriminator="kind")]

# ---------------------------------------------------------------------------------------------------------
# Edit recipes

Finite = Annotated[float, Field(allow_inf_nan=False)]
Strengths = Annotated[list[Finite], Field(min_length=1)]
Layers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Technique = Literal["mask", "laplacian", "poisson"]


class Composition(Strict):
    """How what is drawn and what is kept are joined.

    keep_above: a mask up to this keeps nothing, and from there to 1 it rises in a line, so that edits reach eyes and
    mouth, which masks half keep, and not what lies on the face. feather: slope around kept parts in crop pixels.
    detail: share of the photo's fine structure, and colour: share of its colour and light, that are given back where
    the generator lost them. area: where an edit may change anything, the face with its hair or the whole crop.
    """

    area: Literal["face", "crop"] = "face"
    technique: Technique = "mask"
    keep_above: Annotated[float, Field(ge=0, lt=1)] = 0.0
    feather: Annotated[float, Field(ge=0, le=512)] = 0.0
    detail: Fraction = 0.0
    colour: Fraction = 0.0


class EditStep(Strict):
    """One direction, by name or as a file, and how far to follow it.

    strength: in the direction's unit. strengths: one result for each. target: until the direction's score has
    this value; 0 is the average face. layers: rows of w_plus that it may change, all that it has by default.
    """

    direction: str
    strength: Finite | None = None
    strengths: Strengths | None = None
    target: Finite | None = None
    layers: Layers | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        given = [self.strength is not None, self.strengths is not None, self.target is not None]
        if sum(given) != 1:
            raise ValueError("needs one of strength, strengths and target")
        return self


class Mix(Strict):
    """Rows of w_plus taken from another person: a name among the inputs' results, or a latents file (.npz)."""

    person: str
    layers: Layers


class Interpolation(Strict):
    """Part of the way to another person: amount 0 is the input, 1 the other; amounts: one result for each."""

    person: str
    amount: Finite | None = None
    amounts: Strengths | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.amount is None) == (self.amounts is None):
            raise ValueError("needs either amount or amounts")
        return self


class EditRecipe(Strict):
    """What to do to faces. Paths are relative to the current folder, those of direction files to the recipe's.

    mask: where flow and mask come from, the unedited inversion or the edited pass.
    """

    description: str = ""
    model: str | None = None
    inputs: list[str] = []
    output: str | None = None
    edits: list[EditStep] = []
    truncation: Fraction = 1.0
    mix: Mix | None = None
    interpolate: Interpolation | None = None
    mask: Literal["unedited", "edited"] = "unedited"
    compose: Composition = Composition()

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not self.edits and self.mix is None and self.interpolate is None and self.truncation == 1:
            raise ValueError("asks for nothing: give edits, mix, interpolate or truncation")
        if self.sweeps > 1:
            raise ValueError("only one of the edits may have strengths, or interpolate amounts")
        return self

    @property
    def sweeps(self) -> int:
        """How many of its parts ask for several results."""
        amounts = self.interpolate is not None and self.interpolate.amounts is not None
        return sum(step.strengths is not None for step in self.edits) + amounts


# ---------------------------------------------------------------------------------------------------------
# Benchmark recipes

MetricName = Literal[
    "psnr",
    "psnr_peak_sqrt2",
    "ssim",
    "ms_ssim",
    "mse_unit",
    "mse_pm1",
    "mae_pm1",
    "lpips_alexnet",
    "lpips_vgg16",
    "identity_sface",
    "identity_arcface",
]


class MetricUse(Strict):
    """A metric and the size at which pictures are compared, both resized to it; without one, the model's size."""

    metric: MetricName
    size: Size | None = None

    @property
    def key(self) -> str:
        """Name in tables and files, such as lpips_alexnet@256."""
        return self.metric if self.size is None else f"{self.metric}@{self.size}"


class Dataset(Strict):
    """Photos to measure on. `files`, `source` and `licence` tell what to do where they are missing.

    `count`: how many the protocol has. `shipped`: they come with oodinv. Otherwise `folder` is looked for in
    $OODINV_DATA and in ./datasets.
    """

    folder: str
    aligned: bool
    count: PositiveInt | None = None
    shipped: bool = False
    files: str
    source: str
    licence: str


class PublishedRow(Strict):
    """A row of a published table: values by the keys of metrics, or by names listed in `published_columns`."""

    method: str
    values: dict[str, float]


class BenchmarkRecipe(Strict):
    """A protocol: pictures, metrics with their sizes, ablations, and what others published under it.

    reference: `photo` compares with the photo cropped at the size of the comparison, so that a small model pays
    for its size; `crop` with the crop that the model saw. edits: recipes whose edits are scored too. frechet: the
    distance in SFace features. fid: the one in InceptionV3's. Metrics whose network only a person may fetch are left
    out where its file is missing.
    """

    kind: Literal["benchmark"]
    name: Name
    title: str
    protocol: str
    dataset: Dataset | None = None
    reference: Literal["photo", "crop"]
    metrics: Annotated[list[MetricUse], Field(min_length=1)]
    ablate: list[str] = []
    edits: list[str] = []
    frechet: bool = False
    fid: bool = False
    seed: int = 0
    resamples: PositiveInt = 1000
    cost_images: PositiveInt = 8
    published_source: str = ""
    published_columns: dict[str, str] = {}
    published: list[PublishedRow] = []

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        keys = [use.key for use in self.metrics]
        if len(set(keys)) != len(keys):
            raise ValueError(f"metrics must name each metric and size once, they are {keys}")
        if any(use.metric == "ms_ssim" and (use.size or 256) < 256 for use in self.metrics):
            raise ValueError("ms_ssim needs a size of at least 256: its coarsest scale is a sixteenth of it")
        known = {*keys, *self.published_columns, *(["fid"] if self.fid else [])}
        unknown = {key for row in self.published for key in row.values} - known
        if unknown:
            raise ValueError(f"published rows have {sorted(unknown)}, which no metric and no published_columns name")
        return self


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


def data_folder(name: Literal["recipes", "pretrained", "samples"]) -> Path:
    """Folder of shipped recipes, models or photos: beside the package in a checkout, inside it when installed."""
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


RecipeKind = Literal["train", "edit", "benchmark", "directions"]


def recipe_path(kind: RecipeKind, recipe: str) -> Path:
    """Where a recipe would be: FILE.yaml is a path, any other text the name of a shipped one."""
    return Path(recipe) if recipe.endswith((".yaml", ".yml")) else data_folder("recipes") / kind / f"{recipe}.yaml"


def recipe_names(kind: RecipeKind) -> list[str]:
    """Names of the shipped recipes of a kind."""
    return sorted(path.stem for path in (data_folder("recipes") / kind).glob("*.yaml"))


def find_train_recipe(recipe: str, data: Path | None) -> AnyTrainRecipe:
    """A training recipe by the name of a shipped one or as FILE.yaml, its data folder replaced if given.

    Raises:
        RecipeError: there is no such recipe, or it doesn't validate.
    """
    path = recipe_path("train", recipe)
    if not path.is_file():
        names = ", ".join(recipe_names("train"))
        raise RecipeError(f"there is no training recipe {path}; pass a FILE.yaml, or one of {names}")
    settings: AnyTrainRecipe = read_yaml(path, TrainRecipe)
    if data is None:
        return settings
    return settings.model_copy(update={"data": settings.data.model_copy(update={"folder": str(data)})})


def find_edit_recipe(recipe: str) -> Path:
    """Path of an edit recipe: a file next to the user, or else a shipped one; the suffix .yaml may be left out.

    Raises:
        RecipeError: there is no such recipe; lists the names there are.
    """
    shipped = data_folder("recipes") / "edit"
    names = [recipe] if recipe.endswith((".yaml", ".yml")) else [f"{recipe}.yaml", recipe]
    places = [Path(name) for name in names]
    places += [shipped / name for name in names if Path(name).name == name]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        known = ", ".join(recipe_names("edit")) or "none"
        raise RecipeError(f"there is no edit recipe {recipe} here; pass a FILE.yaml, or one of {known}")
    return found


def read_edit_recipe(path: Path) -> EditRecipe:
    """Reads an edit recipe.

    Raises:
        RecipeError: the file can't be read or doesn't validate.
    """
    recipe: EditRecipe = read_yaml(path, EditRecipe)
    return recipe


def find_benchmark_recipe(name: str) -> BenchmarkRecipe:
    """A protocol by the name of a shipped one or as FILE.yaml.

    Raises:
        RecipeError: there is no such recipe, or it doesn't validate.
    """
    path = recipe_path("benchmark", name)
    if not path.is_file():
        names = ", ".join(benchmark_names())
        raise RecipeError(f"{name!r} is neither a folder nor a benchmark; there are {names}, or pass a FILE.yaml")
    recipe: BenchmarkRecipe = read_yaml(path, BenchmarkRecipe)
    return recipe


def benchmark_names() -> list[str]:
    """Names of the shipped protocols."""
    return recipe_names("benchmark")


def find_dataset(dataset: Dataset) -> Path:
    """The folder of a protocol's photos.

    Raises:
        RecipeError: it is nowhere; says which files are needed, from where, where they go, and their licence.
    """
    if dataset.shipped:
        return data_folder("samples")
    places = [Path("datasets") / dataset.folder]
    if chosen := os.environ.get("OODINV_DATA"):
        places.insert(0, Path(chosen) / dataset.folder)
    for place in places:
        if place.is_dir():
            return place
    raise RecipeError(
        f"the photos of this benchmark are not here. Needed: {dataset.files}. From: {dataset.source}. "
        f"Put them into {' or '.join(map(str, places))} (or name another place in OODINV_DATA), or give any folder "
        f"as --dataset FOLDER with --protocol. Licence: {dataset.licence}"
    )


def read_card(path: Path) -> ModelCard:
    """Reads a model card.

    Raises:
        RecipeError: the file can't be read or doesn't validate.
    """
    card: ModelCard = read_yaml(path, ModelCard)
    return card
