"""What is drawn and what is kept, joined into one crop: by a mask, by a Laplacian pyramid, or seam-free (Poisson).

Crops are float32 (H, W, 3) in grey levels, 0 to 255; masks float32 (H, W) in [0, 1], 1 = kept from the photo.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.composition import Composition
from oodinv.compositing.detail_transfer import lost, motion
from oodinv.compositing.regions import load_region
from oodinv.compositing.regions.base import Change, Movement
from oodinv.compositing.regions.pose import turn
from oodinv.compositing.techniques import load_technique
from oodinv.imaging.colour import matching_colour
from oodinv.imaging.flow import enlarged
from oodinv.imaging.pixels import Flow, Levels, Mask, Pixels, rounded


def compose(
    crop: Levels,
    generated: Levels,
    mask: Mask,
    composition: Composition,
    unedited: Levels | None = None,
    flow: Flow | None = None,
) -> Levels:
    """Joins crop and generated picture; `unedited` is what the generator drew before an edit, `flow` how that moved it.

    M counts from composition.keep_above on. Before they are joined, g gets back what the generator lost (`lost`), in
    the shares composition.detail and composition.colour.
    """
    kept = counted(mask, composition)
    drawn = generated
    if composition.gives_back:
        before = generated if unedited is None else unedited
        drawn = generated + lost(crop, before, generated, flow, composition.detail, composition.colour)
    return load_technique(composition.technique)(crop, drawn, kept)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A crop, what the generator drew of it without and with an edit, and how that moved it (`movement`)."""

    crop: Levels
    unedited: Levels
    generated: Levels
    mask: Mask
    moved: Flow | None


def movement_of(composition: Composition) -> Movement | None:
    """The movement that composing an edit needs."""
    return load_region(composition.area).movement(composition.gives_back)


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
    region = load_region(composition.area)
    kept = counted(drawn.mask, composition)
    along = None if flow is None else region.carry(flow, kept, composition.detail, crop_scale)
    after = before
    if region.generates:
        after = compose(drawn.crop, drawn.generated, drawn.mask, composition, drawn.unedited, flow)
    return region.limit(Change(before, after, drawn.unedited, along, crop_scale)), along


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
