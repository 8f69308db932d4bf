"""What is drawn and what is kept, joined into one crop: by a mask, by a Laplacian pyramid, or seam-free (Poisson).

Crops are float32 (H, W, 3) in grey levels, 0 to 255; masks float32 (H, W) in [0, 1], 1 = kept from the photo.
"""

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.image import Pixels, smoothstep
from oodinv.recipe.edit import Area, Composition

Levels = NDArray[np.float32]
Mask = NDArray[np.float32]
Flow = NDArray[np.float32]
"""Where each pixel of a picture comes from in another, as an offset (H, W, 2) in pixels."""

COARSE = 1 / 32
"""Of the crop's side: standard deviation of the blur that parts colour (coarser) from detail (finer)."""
MISMATCH = 12.0
"""Grey levels: where detail that was moved along with an edit misfits by this much, about a third of it is used."""
VISIBLE = 2.0
"""Grey levels: a motion counts where the edit changed more than about this."""
FACE = (0.29, 0.40)
"""Of an FFHQ crop's side: half the width and height of the ellipse around the face that an edit may change fully."""
FEATURES = (0.19, 0.27)
"""The same of the ellipse around eyes, nose and mouth."""
HEAD = (0.40, 0.54)
"""The same of the ellipse around the head with all its hair, which reaches the border of the crop."""
_FACE_CENTRE = (0.5, 0.53)
_FADE = 1.35  # at this many times the ellipse's size, nothing changes any more
_FLOW_SIDE = 256
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


def compose_edit(
    crop: Levels,
    before: Levels,
    unedited: Levels,
    generated: Levels,
    mask: Mask,
    composition: Composition,
    crop_scale: float,
) -> tuple[Levels, Flow | None]:
    """The composite of an edit as it is delivered, and how the photo's own detail moves along when it is pasted.

    before: the composite without the edit, of `unedited`. crop_scale: see `quad.ffhq_quad`. The flow is one for
    `blend.Edit`, None where nothing moves.
    """
    returned = composition.detail > 0 or composition.colour > 0
    flow = motion(unedited, generated) if returned and not np.array_equal(unedited, generated) else None
    after = compose(crop, generated, mask, composition, unedited, flow)
    along = None if flow is None or composition.detail == 0 else carried(flow, mask, composition, crop_scale)
    return confined(before, after, along, composition.area, crop_scale), along


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
# What an edit may change


def confined(before: Levels, after: Levels, flow: Flow | None, area: Area, crop_scale: float) -> Levels:
    """The edited composite as it is delivered: as it was before the edit outside an area.

    Around features, what was there moves along by `flow` (of `carried`). crop_scale: see `quad.ffhq_quad`.
    A generator changes the background along with the face; pasted back, that would show the crop's border. And it
    changes the colour of hair, hands and background beside a face that turns, and of skin under hair that gets lighter.
    """
    match area:
        case "crop":
            return after
        case "face" | "hair":
            return before + _reach(before.shape[0], area, crop_scale)[..., None] * (after - before)
        case "features":
            still = before if flow is None else moved(before, flow)
            return still + face_weight(before.shape[0], crop_scale, FEATURES)[..., None] * (after - still)


def _reach(size: int, area: Area, crop_scale: float) -> Mask:
    """How far anything may change or move, (size, size) in [0, 1]."""
    match area:
        case "crop":
            return np.ones((size, size), np.float32)
        case "face" | "features":
            return face_weight(size, crop_scale)
        case "hair":
            return face_weight(size, crop_scale, HEAD) * (1 - face_weight(size, crop_scale, FEATURES))


def face_weight(size: int, crop_scale: float, ellipse: tuple[float, float] = FACE) -> Mask:
    """1 on the face of a crop, falling to 0 around the hair, (size, size); or on another ellipse, and around that.

    crop_scale: see `quad.ffhq_quad`. The ellipse lies where FFHQ's alignment puts faces: eyes at 0.47 and mouth at
    0.75 of the height.
    """
    place = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = ((0.5 + crop_scale * (place - 0.5) - c) / half for c, half in zip(_FACE_CENTRE, ellipse, strict=True))
    distance = np.hypot(x, y[:, None])
    return smoothstep(np.asarray((_FADE - distance) / (_FADE - 1), dtype=np.float32))


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


# ---------------------------------------------------------------------------------------------------------
# What the generator lost


def lost(crop: Levels, before: Levels, after: Levels, flow: Flow | None, detail: float, colour: float) -> Levels:
    """What x − g of the unedited inversion can give back to the edited picture: colours and detail, moved along.

    The residual x − `before` is parted by a blur of COARSE. Both parts move as the edit moved the face (flow, of
    `motion`; None without an edit), so that what a turned face uncovers gets the colour of the background beside it.
    The fine part fades where it no longer fits (`trust`): a smile takes skin along, but doesn't leave the old mouth
    in the new one.
    """
    residual = crop - before
    coarse = _coarse(residual)
    fine = residual - coarse
    if flow is not None:
        coarse = moved(coarse, flow)
        fine = moved(fine, flow) * trust(before, after, flow)[..., None]
    return np.asarray(colour * coarse + detail * fine, dtype=np.float32)


def carried(flow: Flow, mask: Mask, composition: Composition, crop_scale: float) -> Flow:
    """How far a photo's own detail moves along when an edit that moved things by `flow` is pasted.

    What is kept of the crop, and what lies outside the area that the edit may change or move, stays.
    """
    free = (1 - counted(mask, composition)) * _reach(mask.shape[0], composition.area, crop_scale)
    return np.asarray(flow * (composition.detail * free)[..., None], dtype=np.float32)


def motion(before: Levels, after: Levels) -> Flow:
    """Where each pixel of `after` comes from in `before`; 0 where nothing changed.

    Optical flow by polynomial expansion (Farnebäck, 2003), on small crops at 256 pixels, damped where the edit
    changed no more than VISIBLE.
    """
    height, width = before.shape[:2]
    scale = max(1, round(_FLOW_SIDE / height))
    a, b = (_grey(picture, (width * scale, height * scale)) for picture in (after, before))
    window = max(15, height * scale // 16)
    start = np.zeros((*a.shape, 2), dtype=np.float32)
    flow = cv2.calcOpticalFlowFarneback(a, b, start, 0.5, 4, window, 3, 7, 1.5, cv2.OPTFLOW_FARNEBACK_GAUSSIAN)
    flow = cv2.resize(np.asarray(flow, np.float32) / scale, (width, height), interpolation=cv2.INTER_AREA)
    change = _fine_blur(np.abs(after - before).mean(axis=2))
    damped = flow * (1 - np.exp(-np.square(change / VISIBLE)))[..., None]
    return np.asarray(_fine_blur(damped), dtype=np.float32)


def moved(picture: NDArray[np.float32], flow: Flow) -> NDArray[np.float32]:
    """The picture (H, W, C) sampled where a flow (H, W, 2) says that each pixel comes from."""
    row, column = np.indices(flow.shape[:2], dtype=np.float32)
    sampled = cv2.remap(
        picture, column + flow[..., 0], row + flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(sampled, dtype=np.float32)


def trust(before: Levels, after: Levels, flow: Flow) -> Mask:
    """How well structure that moved along fits the edited picture, (H, W) in [0, 1]; colour may change freely."""
    misfit = moved(before, flow) - after
    structure = np.abs(misfit - _coarse(misfit)).mean(axis=2)
    return np.asarray(np.exp(-np.square(_fine_blur(structure) / MISMATCH)), dtype=np.float32)


def _grey(picture: Levels, size: tuple[int, int]) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(picture.clip(0, 255).astype(np.float32), cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC).clip(0, 255), dtype=np.uint8)


def _coarse(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), COARSE * picture.shape[0]), dtype=np.float32)


def _fine_blur(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), COARSE / 2 * picture.shape[0]), dtype=np.float32)
