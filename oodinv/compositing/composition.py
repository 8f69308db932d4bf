"""Settings for compositing, as recipes and options give them."""

from typing import Annotated

from pydantic import AfterValidator, Field

from oodinv.compositing.regions import REGIONS
from oodinv.compositing.techniques import TECHNIQUES
from oodinv.records import Fraction, Strict, choose

Area = Annotated[str, AfterValidator(lambda name: choose(REGIONS, name, "area").name)]
Technique = Annotated[str, AfterValidator(lambda name: choose(TECHNIQUES, name, "technique").name)]


class Composition(Strict):
    """Settings for compositing crop and generated picture.

    area: the region that an edit may change (`regions.REGIONS`). technique: see `techniques.TECHNIQUES`. keep_above:
    mask values up to this become 0; the rest is rescaled linearly to [0, 1]. feather: width of the slope around the
    masked area, in crop pixels. detail, colour: weights in [0, 1] of the fine and the coarse residual between crop and
    generated picture, which is added to the generated picture.
    """

    area: Area = "face"
    technique: Technique = "mask"
    keep_above: Annotated[float, Field(ge=0, lt=1)] = 0.0
    feather: Annotated[float, Field(ge=0, le=512)] = 0.0
    detail: Fraction = 0.0
    colour: Fraction = 0.0

    @property
    def restores_residual(self) -> bool:
        """True if detail or colour of the residual is added to the generated picture."""
        return not self.detail == self.colour == 0
