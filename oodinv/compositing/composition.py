"""Settings for compositing, as recipes and options give them."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from oodinv.compositing.regions import REGIONS
from oodinv.compositing.techniques import TECHNIQUES
from oodinv.faces.parts import PARTS, Part
from oodinv.records import Fraction, Strict, choose

Area = Annotated[str, AfterValidator(lambda name: choose(REGIONS, name, "area").name)]
Technique = Annotated[str, AfterValidator(lambda name: choose(TECHNIQUES, name, "technique").name)]


class Composition(Strict):
    """Settings for compositing crop and generated picture.

    area: the region that an edit may change (`regions.REGIONS`). keep: parts that stay unchanged; None for the region's
    default, which for most regions is glasses, hat, earrings, necklace and clothes. change: parts that change too, or
    all, even where the mask says that the generator can't draw them. technique: see `techniques.TECHNIQUES`.
    keep_above: mask values up to this become 0; the rest is rescaled linearly to [0, 1]. feather: width of the slope
    around the masked area, in crop pixels. detail, colour: shares in [0, 1] of fine and coarse structure that come from
    the photo, see `detail_transfer.transferred_residual`.
    """

    area: Area = "face"
    keep: tuple[Part, ...] | None = None
    change: tuple[Part, ...] | Literal["all"] = ()
    technique: Technique = "mask"
    keep_above: Annotated[float, Field(ge=0, lt=1)] = 0.0
    feather: Annotated[float, Field(ge=0, le=512)] = 0.0
    detail: Fraction = 0.0
    colour: Fraction = 0.0

    @property
    def restores_residual(self) -> bool:
        """True if detail or colour of the residual is added to the generated picture."""
        return not self.detail == self.colour == 0

    @property
    def changed_parts(self) -> tuple[str, ...]:
        """Names of the parts in `change`."""
        return PARTS if self.change == "all" else self.change

    @model_validator(mode="after")
    def _either_kept_or_changed(self) -> Self:
        if both := sorted(set(self.keep or ()) & set(self.changed_parts)):
            raise ValueError(f"keep and change both name {', '.join(both)}; name each part once")
        return self
