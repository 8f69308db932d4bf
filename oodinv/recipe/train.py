"""Training recipes: data, schedule, networks and losses of each kind of training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from oodinv.errors import RecipeError
from oodinv.recipe.base import Fraction, Name, Size, Strict, read_yaml, recipe_names, recipe_path
from oodinv.recipe.card import Crop, CropScale


class FaceFolder(Strict):
    """Photos to train on, searched recursively; a twentieth is held out by the hash of each file.

    Photos are cropped to their largest face; with `aligned` they are crops already. more_scales: training faces are
    cropped at these `crop.scale`s too, so that a model bears a framing that isn't quite its own.
    """

    folder: str
    size: Size
    crop: Crop = Crop()
    more_scales: tuple[CropScale, ...] = ()
    aligned: bool = False
    flip: bool = True

    @model_validator(mode="after")
    def _crops_are_as_they_are(self) -> Self:
        if self.aligned and self.more_scales:
            raise ValueError("crops that are aligned already can't be cropped at more_scales; leave one of both out")
        return self


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
