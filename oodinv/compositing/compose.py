"""What is drawn and what is kept, joined into one crop: by a mask, by a Laplacian pyramid, or seam-free (Poisson).

Crops are float32 (H, W, 3) in grey levels, 0 to 255; masks float32 (H, W) in [0, 1], 1 = kept from the photo.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.detail_transfer import lost, motion
from oodinv.compositing.regions.confine import confined, reach_of
from oodinv.compositing.regions.pose import turn
from oodinv.compositing.techniques.laplacian import blend_pyramids
from oodinv.compositing.techniques.mask import mixed
from oodinv.compositing.techniques.poisson import seamless
from oodinv.imaging.colour import matching_colour
from oodinv.imaging.flow import enlarged
from oodinv.imaging.pixels import Flow, Levels, Mask, Pixels, blurred, rounded
from oodinv.recipe.edit import Composition

TOGETHER = 1 / 16
"""Of the crop's side: standard deviation of the blur of how the face around features moves."""
AROUND = 1 / 10
"""Of the crop's side: standard deviation of the blur that tells how much of its surroundings is kept."""
LUMP = (0.3, 0.5)
"""What is kept with less than the first of these shares of its surroundings moves with a head; above the second it
stays."""


def compose(
    crop: Levels,
    generated: Levels,
    mask: Mask,
    composition: Composition,
    unedited: Levels | None = None,
    flow: Flow | None = None,
) -> Levels:
    """Joins crop and generated picture; `unedited` is what the generator drew before an edit, `flow` how that moved it.

    mask: y = M·x + (1 − M)·g. laplacian: `blend_pyramids`. poisson: the same as mask with `seamless` g. M counts from
    composition.keep_above on. Before that, g gets back what the generator lost (`lost`), in the shares
    composition.detail and composition.colour.
    """
    kept = counted(mask, composition)
    drawn = generated
    if composition.detail or composition.colour:
        before = generated if unedited is None else unedited
        drawn = generated + lost(crop, before, generated, flow, composition.detail, composition.colour)
    match composition.technique:
        case "mask":
            return mixed(crop, drawn, kept)
        case "laplacian":
            return blend_pyramids(crop, drawn, kept)
        case "poisson":
            return mixed(crop, seamless(crop, drawn, kept), kept)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A crop, what the generator drew of it without and with an edit, and how that moved it (`movement`)."""

    crop: Levels
    unedited: Levels
    generated: Levels
    mask: Mask
    moved: Flow | None


Movement = Literal["turn", "motion"]
"""The turn of a head, or any motion; so they are called among the flows of a face."""


def movement_of(composition: Composition) -> Movement | None:
    """What a composition needs to know of how an edit moved things; hair only gets another colour."""
    if composition.area == "pose":
        return "turn"
    return None if composition.area == "hair" or composition.detail == composition.colour == 0 else "motion"


def movement(
    unedited: Levels, generated: Levels, mask: Mask, composition: Composition, crop_scale: float
) -> Flow | None:
    """How an edit moved what the generator drew, for fewer pixels where crops are large (`flow.enlarged`)."""
    match movement_of(composition):
        case "turn":
            return turn(unedited, generated, counted(mask, composition), crop_scale)
        case "motion":
            return motion(unedited, generated)
        case None:
            return None


def compose_edit(
    drawn: Drawn, before: Levels, composition: Composition, crop_scale: float
) -> tuple[Levels, Flow | None]:
    """The composite of an edit as it is delivered, and how the photo's own detail moves along when it is pasted.

    before: the composite without the edit. crop_scale: see `framing.ffhq_quad`. The flow is one for
    `paste_back.Edit`, None where nothing moves.
    """
    flow = None if drawn.moved is None else enlarged(drawn.moved, before.shape[0])
    along = None if flow is None else carried(flow, drawn.mask, composition, crop_scale)
    after = before
    if composition.area != "pose":
        after = compose(drawn.crop, drawn.generated, drawn.mask, composition, drawn.unedited, flow)
    return confined(before, after, drawn.unedited, along, composition.area, crop_scale), along


UNEDITED_MASK = "unedited_mask"
"""Name among a face's flows of the mask of the pass without the edit; saved where the edited pass has its own."""


@dataclass(frozen=True, eq=False)
class Saved:
    """An edited face in the precision of its files, so that composing again gives the very same pictures.

    crop, unedited, generated uint8 (S, S, 3). mask float16 (S, S): that of the edited pass. unedited_mask: that of the
    pass without the edit, where it is another one.
    """

    crop: Pixels
    unedited: Pixels
    generated: Pixels
    mask: NDArray[np.floating]
    unedited_mask: NDArray[np.floating] | None = None

    @property
    def is_unedited(self) -> bool:
        """Whether the edit changed nothing of this face."""
        return self.unedited_mask is None and np.array_equal(self.unedited, self.generated)


@dataclass(frozen=True, eq=False)
class Composed:
    """Composites uint8 (S, S, 3) without and with the edit, and what moved.

    along: how the photo's own detail moves when the edit is pasted. moved: the edit's movement as it is saved, float16
    (2, s, s).
    """

    before: Pixels
    after: Pixels
    along: Flow | None = None
    moved: NDArray[np.float16] | None = None


def unedited_composite(face: Saved, composition: Composition) -> Levels:
    """The composite of a face without its edit, float32 (S, S, 3) in grey levels."""
    mask = face.mask if face.unedited_mask is None else face.unedited_mask
    return compose(_levels(face.crop), _levels(face.unedited), mask.astype(np.float32), composition)


def compose_saved(
    face: Saved,
    before: Levels,
    composition: Composition,
    crop_scale: float,
    moved: NDArray[np.floating] | None = None,
) -> Composed:
    """Composes an edited face; `before` is its `unedited_composite`, `moved` a movement that was found before.

    Composites of a crop without colour have none either.
    """
    plain = matching_colour(rounded(before), face.crop)
    if face.is_unedited:
        return Composed(plain, plain)
    crop, unedited, generated = (_levels(p) for p in (face.crop, face.unedited, face.generated))
    mask = face.mask.astype(np.float32)
    if moved is None and (found := movement(unedited, generated, mask, composition, crop_scale)) is not None:
        moved = found.transpose(2, 0, 1)
    kept = None if moved is None else moved.astype(np.float16)
    flow = None if kept is None else np.ascontiguousarray(kept.transpose(1, 2, 0), dtype=np.float32)
    after, along = compose_edit(Drawn(crop, unedited, generated, mask, flow), before, composition, crop_scale)
    return Composed(plain, matching_colour(rounded(after), face.crop), along, kept)


def _levels(pixels: Pixels) -> Levels:
    return pixels.astype(np.float32)


def carried(flow: Flow, mask: Mask, composition: Composition, crop_scale: float) -> Flow | None:
    """How far a photo's own detail moves along when an edit that moved things by `flow` is pasted; None: all stays.

    What is kept of the crop (with a pose, in `lumps`), and what lies outside the area that the edit may change or move,
    stays. Around features all moves together, so that no jaw or wrinkle bends beside an ear that is kept.
    """
    size = mask.shape[0]
    kept = counted(mask, composition)
    if composition.area == "pose":
        return np.asarray(flow * (1 - blurred(lumps(kept), TOGETHER * size))[..., None], dtype=np.float32)
    if composition.detail == 0:
        return None
    free = flow * (1 - kept)[..., None]
    if composition.area == "features":
        free = blurred(free, TOGETHER * size)
    reach = composition.detail * reach_of(composition.area, size, crop_scale)
    return np.asarray(free * reach[..., None], dtype=np.float32)


def lumps(kept: Mask) -> Mask:
    """What is kept in lumps, such as a hand or letters; not a moustache or the rims of glasses, which move with a head.

    A mask tells what a generator can't draw, and not whether that belongs to the face.
    """
    around = blurred(kept, AROUND * kept.shape[0])
    return np.asarray(((around - LUMP[0]) / (LUMP[1] - LUMP[0])).clip(0, 1), dtype=np.float32)


def counted(mask: Mask, composition: Composition) -> Mask:
    """The mask as a composition counts it."""
    return feathered(raised(mask, composition.keep_above), composition.feather)


def raised(mask: Mask, keep_above: float) -> Mask:
    """The mask with 0 up to `keep_above`, in [0, 1), and a straight line from there to 1."""
    if keep_above == 0:
        return mask
    return np.asarray((mask - keep_above).clip(0) / (1 - keep_above), dtype=np.float32)


def feathered(mask: Mask, feather: float) -> Mask:
    """The mask with a slope of about `feather` pixels around what it keeps; what was kept stays kept."""
    if feather == 0:
        return mask
    return np.maximum(mask, cv2.GaussianBlur(mask, (0, 0), feather / 2))
