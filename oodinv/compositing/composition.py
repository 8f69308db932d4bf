"""How kept and generated parts are joined, as recipes and options say it."""

from typing import Annotated

from pydantic import AfterValidator, Field

from oodinv.compositing.regions import REGIONS
from oodinv.compositing.techniques import TECHNIQUES
from oodinv.records import Strict, choose

Share = Annotated[float, Field(ge=0, le=1)]
Area = Annotated[str, AfterValidator(lambda name: choose(REGIONS, name, "area").name)]
Technique = Annotated[str, AfterValidator(lambda name: choose(TECHNIQUES, name, "technique").name)]


class Composition(Strict):
    """How kept and generated parts are joined.

    area: the region that an edit may change (`regions.REGIONS`). technique: see `techniques.TECHNIQUES`. keep_above:
    mask values up to this become 0; the rest is rescaled linearly to [0, 1]. feather: width of the slope around kept
    parts, in crop pixels. detail, colour: shares of the photo's fine structure, and of its colour and light, that are
    given back where the generator lost them.
    """

    area: Area = "face"
    technique: Technique = "mask"
    keep_above: Annotated[float, Field(ge=0, lt=1)] = 0.0
    feather: Annotated[float, Field(ge=0, le=512)] = 0.0
    detail: Share = 0.0
    colour: Share = 0.0

    @property
    def gives_back(self) -> bool:
        """Whether some of the photo's detail or colour is given back."""
        return not self.detail == self.colour == 0
