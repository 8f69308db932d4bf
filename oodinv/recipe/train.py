"""Fields shared by the recipes of all training tasks: data, schedule and losses."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from oodinv.recipe.base import Name, Size
from oodinv.recipe.card import Crop, CropScale
from oodinv.records import Fraction, Strict


class FaceFolder(Strict):
    """The photos of a folder and its sub-folders; a twentieth, chosen by the hash of each file, is held out.

    Photos are cropped to their largest face; with `aligned` they are crops already. more_scales: further `crop.scale`s
    at which training faces are cropped, which makes a model robust to inexact framing. labels: folder of label maps of
    aligned crops, as in CelebAMask-HQ: for PHOTO.jpg a grey PHOTO.png whose levels are classes; photos may lack one.
    """

    folder: str
    size: Size
    crop: Crop = Crop()
    more_scales: tuple[CropScale, ...] = ()
    aligned: bool = False
    flip: bool = True
    labels: str | None = None

    @property
    def channels(self) -> int:
        """Channels of a crop: RGB, and a fourth for labels."""
        return 3 if self.labels is None else 4

    @model_validator(mode="after")
    def _aligned_crops_have_one_scale(self) -> Self:
        if self.aligned and self.more_scales:
            raise ValueError("crops that are aligned already can't be cropped at more_scales; leave one of both out")
        if self.labels is not None and not self.aligned:
            raise ValueError("labels are maps of aligned crops; set aligned: true, or leave labels out")
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
"""Treatment of losses whose network is missing: an error, or omitted."""

LpipsBackbone = Literal["alexnet", "vgg16"]


class Schedule(Strict):
    """Number of steps (optimiser updates), batch size, learning rate, and intervals in steps.

    accumulate: number of pieces in which a SAMM recipe computes a batch, to save memory; terms over a whole batch
    (mean mask area, the discriminator's deviation) are then over a piece. The averaged weights have a half-life of
    `ema_images` images, or the constant decay `ema_decay` a step.
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


class TrainRecipe(Strict):
    """Fields of every training recipe; `kind` names the training task. data: None for tasks without photos."""

    kind: str
    name: Name
    data: FaceFolder | None = None
    schedule: Schedule


class PhotoRecipe(TrainRecipe):
    """A training recipe that needs photos. uses_labels: true if the task uses label maps."""

    uses_labels: ClassVar[bool] = False

    data: FaceFolder

    @model_validator(mode="after")
    def _labels_are_used(self) -> Self:
        if self.data.labels is not None and not self.uses_labels:
            raise ValueError("data.labels: this kind of training uses no labels; leave it out")
        return self


class ReconstructionRecipe(PhotoRecipe):
    """A training recipe with losses between photos and generated pictures.

    lpips: weight of LPIPS. missing: treatment of losses whose network is missing.
    """

    lpips: Annotated[float, Field(ge=0)] = 1.0
    lpips_backbone: LpipsBackbone = "alexnet"
    identity: Identity | None = None
    missing: Missing = "refuse"


class LatentAdversarial(Strict):
    """Non-saturating loss against a discriminator of latents, with lazy R1."""

    weight: Annotated[float, Field(ge=0)] = 0.1
    r1: Annotated[float, Field(ge=0)] = 10.0
    r1_interval: PositiveInt = 16
    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    layers: PositiveInt = 4


def sizes_from_four(size: int) -> list[int]:
    """4, 8, …, size."""
    return [2**n for n in range(2, size.bit_length())]


def check_sizes(key: str, table: Mapping[int, int], sizes: list[int]) -> None:
    """Raises ValueError if a table of channels doesn't have exactly these sizes."""
    if sorted(table) != sizes:
        raise ValueError(f"{key} must have one entry for each of the sizes {sizes}, it has {sorted(table)}")


def check_one_piece(schedule: Schedule) -> None:
    """Raises ValueError for `accumulate`, which only SAMM's training supports."""
    if schedule.accumulate != 1:
        raise ValueError("schedule.accumulate is for kind samm alone; lower schedule.batch")


def check_adversarial(settings: Adversarial | None, sizes: list[int]) -> None:
    """Raises ValueError if the discriminator's table of channels has other sizes."""
    if settings is not None and settings.channels is not None:
        check_sizes("adversarial.channels", settings.channels, sizes)
