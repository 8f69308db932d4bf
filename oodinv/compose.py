"""What is drawn and what is kept, joined into one crop: by a mask, by a Laplacian pyramid, or seam-free (Poisson).

Crops are float32 (H, W, 3) in grey levels, 0 to 255; masks float32 (H, W) in [0, 1], 1 = kept from the photo.
"""

import itertools
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.area import confined, reach_of
from oodinv.head import turn
from oodinv.imaging.pixels import Flow, Levels, Mask, Pixels, blurred
from oodinv.recipe.edit import Composition
from oodinv.residual import enlarged, lost, motion

TOGETHER = 1 / 16
"""Of the crop's side: standard deviation of the blur of how the face around features moves."""
AROUND = 1 / 10
"""Of the crop's side: standard deviation of the blur that tells how much of its surroundings is kept."""
LUMP = (0.3, 0.5)
"""What is kept with less than the first of these shares of its surroundings moves with a head; above the second it
stays."""
_SMALL = 64


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
    """How an edit moved what the generator drew, for fewer pixels where crops are large (`residual.enlarged`)."""
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

    before: the composite without the edit. crop_scale: see `framing.ffhq_quad`. The flow is one for `blend.Edit`, None
    where nothing moves.
    """
    flow = None if drawn.moved is None else enlarged(drawn.moved, before.shape[0])
    along = None if flow is None else carried(flow, drawn.mask, composition, crop_scale)
    after = before
    if composition.area != "pose":
        after = compose(drawn.crop, drawn.generated, drawn.mask, composition, drawn.unedited, flow)
    return confined(before, after, drawn.unedited, along, composition.area, crop_scale), along


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


def rounded(levels: Levels) -> Pixels:
    """Grey levels as a picture holds them, uint8."""
    return np.asarray(np.rint(levels).clip(0, 255), dtype=np.uint8)


def mixed(crop: Levels, drawn: Levels, mask: Mask) -> Levels:
    """M·x + (1 − M)·g."""
    weight = mask[..., None]
    return weight * crop + (1 - weight) * drawn


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


# ---------------------------------------------------------------------------------------------------------
# Laplacian pyramid


def blend_pyramids(crop: Levels, drawn: Levels, mask: Mask) -> Levels:
    """Mixes each octave with a mask as coarse as itself, so that a seam is as wide as what crosses it.

    Source: Burt and Adelson, "A multiresolution spline with application to image mosaics" (1983).
    """
    octaves = max(1, int(np.log2(min(mask.shape))) - 2)
    masks = _gaussians(mask, octaves)
    pairs = zip(_laplacians(crop, octaves), _laplacians(drawn, octaves), masks, strict=True)
    bands = [mixed(kept, new, weight) for kept, new, weight in pairs]
    joined = bands.pop()
    while bands:
        band = bands.pop()
        joined = band + _expand(joined, band)
    return joined


def _gaussians(picture: NDArray[np.float32], octaves: int) -> list[NDArray[np.float32]]:
    levels = [picture]
    for _ in range(octaves):
        levels.append(np.asarray(cv2.pyrDown(levels[-1]), dtype=np.float32))
    return levels


def _laplacians(picture: Levels, octaves: int) -> list[Levels]:
    """Differences of neighbouring octaves from fine to coarse, and the coarsest octave last."""
    levels = _gaussians(picture, octaves)
    return [fine - _expand(coarse, fine) for fine, coarse in itertools.pairwise(levels)] + levels[-1:]


def _expand(coarse: Levels, like: Levels) -> Levels:
    return np.asarray(cv2.pyrUp(coarse, dstsize=like.shape[1::-1]), dtype=np.float32)


# ---------------------------------------------------------------------------------------------------------
# Poisson


def seamless(crop: Levels, drawn: Levels, mask: Mask) -> Levels:
    """The drawn picture with its gradients kept and its values those of the crop wherever the crop is kept.

    Solves ∇²y = ∇²g where M < 1/2, with y = x elsewhere and on the crop's border; that is y = g + c with c
    harmonic, and x − g on the boundary. Source: Pérez, Gangnet and Blake, "Poisson image editing" (2003).
    """
    known = mask >= 0.5
    known[[0, -1]] = True
    known[:, [0, -1]] = True
    return drawn + membrane(crop - drawn, known)


def membrane(values: Levels, known: NDArray[np.bool_]) -> Levels:
    """Fills what is not known harmonically: each unknown pixel becomes the mean of its four neighbours.

    values (H, W, 3), known (H, W) with the border known. Solved by over-relaxation on small pictures, to about
    0.01 levels; larger ones start from the solution at half the size, which is smooth, and are only polished.
    """
    if known.all():
        return values
    size = max(known.shape)
    if size <= _SMALL:
        start = np.where(known[..., None], values, values[known].mean(axis=0))
        return _relax(start, known, rounds=4 * size, factor=2 / (1 + np.sin(np.pi / size)))
    half = ((known.shape[1] + 1) // 2, (known.shape[0] + 1) // 2)
    weight = cv2.resize(known.astype(np.float32), half, interpolation=cv2.INTER_AREA)
    summed = cv2.resize(values * known[..., None], half, interpolation=cv2.INTER_AREA)
    mean = np.asarray(summed / np.maximum(weight, 1e-6)[..., None], dtype=np.float32)
    coarse = membrane(mean, weight > 0)
    fine = cv2.resize(coarse, known.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return _relax(np.where(known[..., None], values, fine), known, rounds=6, factor=1.2)


def _relax(start: Levels, known: NDArray[np.bool_], rounds: int, factor: float) -> Levels:
    """Successive over-relaxation in red-black order until nothing moves by 0.001 levels, or for so many rounds."""
    filled = np.array(start, dtype=np.float32)
    row, column = np.indices(known.shape)
    steps = [((~known & ((row + column) % 2 == parity)) * np.float32(factor))[1:-1, 1:-1, None] for parity in (0, 1)]
    inner = filled[1:-1, 1:-1]
    for _ in range(rounds):
        moved = 0.0
        for step in steps:
            mean = (filled[:-2, 1:-1] + filled[2:, 1:-1] + filled[1:-1, :-2] + filled[1:-1, 2:]) / 4
            change = step * (mean - inner)
            inner += change
            moved = max(moved, float(np.abs(change).max(initial=0)))
        if moved < 1e-3:
            break
    return filled
