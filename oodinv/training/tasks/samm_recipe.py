"""Recipes for training SAMM."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from oodinv.recipe.base import Size
from oodinv.recipe.train import (
    Adversarial,
    Perceptual,
    ReconstructionRecipe,
    check_adversarial,
    sizes_from_four,
)
from oodinv.records import Fraction, Strict


class LabelledMask(Strict):
    """Targets of the final mask on the classes of label maps.

    kept: classes to copy from the photo; kept_weight: weight of the mean of 1 − M there. generated: classes to
    generate; generated_weight: weight of the excess of the mean of M there over `generated_area`.
    """

    kept: list[int]
    generated: list[int]
    kept_weight: Annotated[float, Field(ge=0)] = 1.0
    generated_weight: Annotated[float, Field(ge=0)] = 1.5
    generated_area: Fraction = 0.12


class NoiseTraining(Strict):
    """Training of the encoder's noise head together with SAMM.

    rate: factor of the learning rate. lpips, inner, l2, identity: weights of `Fidelity` of the generated picture.
    squares: weight of the squares of noise; strong noise makes previews better, but irises and skin in full size worse.
    clip: largest norm of the gradient.
    """

    rate: Annotated[float, Field(gt=0)] = 1.0
    lpips: Annotated[float, Field(ge=0)] = 3.0
    inner: Annotated[float, Field(ge=0)] = 1.5
    l2: Annotated[float, Field(ge=0)] = 1.5
    identity: Annotated[float, Field(ge=0)] = 1.5
    squares: Annotated[float, Field(ge=0)] = 0.13
    clip: Annotated[float, Field(gt=0)] = 1.0


class SammRecipe(ReconstructionRecipe):
    """Recipe of SAMM for a fixed encoder and generator (Yang et al. 2023).

    heads: file of preview heads; SAMM is then trained through the largest preview, of `data.size`. noise: of the
    generator. encoder_noise: share of the batches that are generated with the noise that the encoder predicts, if it
    does; the others have none, as edits have. train_noise: trains the encoder's noise head, too. refine: share of the
    batches whose codes and noise are refined by `refine_steps` first. in_domain: weight of the mean squared error of
    the generated picture where M is 0.

    area, final_area: largest mean of the masks by size and of the final mask. occluders: share of the training faces
    with a pasted shape, letters, hat or limb. uncovered: weight of the mean of 1 − M on occluders. face_area: largest
    mean of M on the face of those photos, without the occluder.
    """

    uses_labels: ClassVar[bool] = True

    kind: Literal["samm"]
    model: str
    heads: str | None = None
    noise: Literal["fixed", "zero"] = "zero"
    encoder_noise: Fraction = 1.0
    train_noise: NoiseTraining | None = None
    refine: Fraction = 0.0
    refine_steps: PositiveInt = 12
    labels: LabelledMask | None = None
    sizes: Annotated[list[Size], Field(min_length=1)]
    cycles: PositiveInt = 2
    flow_range: Annotated[float, Field(gt=0, le=1)] = 0.08
    channels: PositiveInt | None = None
    start_steps: dict[int, int]
    mse: Annotated[float, Field(ge=0)] = 1.0
    in_domain: Annotated[float, Field(ge=0)] = 0.0
    perceptual: Perceptual | None = None
    adversarial: Adversarial | None = None
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
        if (self.labels is None) != (self.data.labels is None):
            raise ValueError("labels and data.labels need each other; give both or none")
        check_adversarial(self.adversarial, sizes_from_four(self.data.size))
        return self
