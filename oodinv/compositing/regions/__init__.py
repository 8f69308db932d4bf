"""Registry of regions that limit an edit: one module and one entry in REGIONS each.

`area` in recipes offers the names listed here.
"""

from typing import TYPE_CHECKING

from oodinv.records import Choice, choose

if TYPE_CHECKING:
    from oodinv.compositing.regions.base import Region

REGIONS: tuple[Choice, ...] = (
    Choice("face", "the face with its hair", "oodinv.compositing.regions.face"),
    Choice("skin", "the face without its hair", "oodinv.compositing.regions.skin"),
    Choice("hair", "the hair", "oodinv.compositing.regions.hair"),
    Choice("pose", "the photo itself moves as a head that turns", "oodinv.compositing.regions.pose"),
    Choice("crop", "the whole crop", "oodinv.compositing.regions.crop"),
)


def load_region(name: str) -> "Region":
    """Returns REGION of the named region's module.

    Raises:
        ValueError: no region has this name; the message lists the registered ones.
    """
    region: Region = choose(REGIONS, name, "area").load().REGION
    return region
