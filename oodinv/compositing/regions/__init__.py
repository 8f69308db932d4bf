"""Regions that limit an edit: a module for each, and one line in REGIONS, which are the areas that recipes offer."""

from typing import TYPE_CHECKING

from oodinv.records import Choice, choose

if TYPE_CHECKING:
    from oodinv.compositing.regions.base import Region

REGIONS: tuple[Choice, ...] = (
    Choice(
        "features", "eyes, nose and mouth; what surrounds them only moves along", "oodinv.compositing.regions.features"
    ),
    Choice(
        "expression", "the face with its hair, without a change of complexion", "oodinv.compositing.regions.expression"
    ),
    Choice("pose", "the photo itself moves as a head that turns", "oodinv.compositing.regions.pose"),
    Choice("hair", "the head with its hair, which only changes its colour", "oodinv.compositing.regions.hair"),
    Choice("face", "the face with its hair", "oodinv.compositing.regions.face"),
    Choice("crop", "the whole crop", "oodinv.compositing.regions.crop"),
)


def load_region(name: str) -> "Region":
    """Returns the region with this name: REGION of its module.

    Raises:
        ValueError: no region has this name; lists those there are.
    """
    region: Region = choose(REGIONS, name, "area").load().REGION
    return region
