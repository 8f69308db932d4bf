"""Composites of crops and generated pictures, without and with an edit.

Crops are float32 (H, W, 3) in grey levels, 0 to 255; masks float32 (H, W) in [0, 1], 1 = copied from the crop.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.compositing.composition import Composition
from oodinv.compositing.detail_transfer import optical_flow, transferred_residual
from oodinv.compositing.hair_dye import Dye, dyed
from oodinv.compositing.regions import load_region
from oodinv.compositing.regions.base import REACH, EditedCrop, FlowKind, Place
from oodinv.compositing.regions.pose import head_turn_flow
from oodinv.compositing.techniques import load_technique
from oodinv.faces.parts import PartMap, part_weight
from oodinv.imaging.colour import matching_colour
from oodinv.imaging.flow import resize_flow, warp
from oodinv.imaging.pixels import Flow, Levels, Mask, Pixels, rounded


def compose(
    crop: Levels,
    generated: Levels,
    mask: Mask,
    composition: Composition,
    unedited: Levels | None = None,
    flow: Flow | None = None,
    mouth: Mask | float = 0.0,
) -> Levels:
    """Composites crop and generated picture by the composition's technique. → (H, W, 3).

    Before that, the residual between the crop and the unedited generated picture is added to the generated one
    (`transferred_residual`), weighted by composition.detail and composition.colour. unedited: the generated picture
    without the edit; flow (H, W, 2): the motion from `unedited` to `generated`. Both are None without an
    edit. mouth: see `transferred_residual`.
    """
    source = generated
    if composition.restores_residual:
        before = generated if unedited is None else unedited
        source = generated + transferred_residual(
            crop, before, generated, flow, composition.detail, composition.colour, mouth
        )
    return load_technique(composition.technique)(crop, source, effective_mask(mask, composition))


@dataclass(frozen=True, eq=False)
class CompositionInputs:
    """Arrays from which an edited crop is composited.

    crop (S, S, 3). unedited, generated (S, S, 3): generated pictures without and with the edit. mask (S, S): that of
    the edited pass. flow (s, s, 2): see `edit_flow`.
    """

    crop: Levels
    unedited: Levels
    generated: Levels
    mask: Mask
    flow: Flow | None


def flow_kind(composition: Composition) -> FlowKind | None:
    """Kind of edit flow that the composition needs; None if it needs none."""
    return load_region(composition.area).flow_kind(composition.restores_residual)


def edit_flow(
    unedited: Levels, generated: Levels, mask: Mask, composition: Composition, crop_scale: float
) -> Flow | None:
    """Estimates the motion that an edit causes in the generated picture. → (s, s, 2) in pixels, s ≤ S.

    `flow.resize_flow` scales it to the crop. None if the composition needs no flow. crop_scale: see
    `framing.ffhq_quad`.
    """
    match flow_kind(composition):
        case "turn":
            return head_turn_flow(unedited, generated, effective_mask(mask, composition), crop_scale)
        case "motion":
            return optical_flow(unedited, generated)
        case None:
            return None


def compose_edit(
    inputs: CompositionInputs, before: Levels, composition: Composition, place: Place
) -> tuple[Levels, Flow | None]:
    """Composites an edited crop and limits the edit to the composition's region.

    before (S, S, 3): the composite without the edit. place: where the edit may act. Returns the edited composite
    (S, S, 3) and the flow for `paste_back.Patch` (S, S, 2), None if the photo's own detail does not move.
    """
    size = before.shape[0]
    region = load_region(composition.area)
    flow = None if inputs.flow is None else region.steadied(resize_flow(inputs.flow, size), place)
    mask = inputs.mask * (1 - place.changed_weight(size)) if place.changed else inputs.mask
    effective = effective_mask(mask, composition)
    detail_flow = None if flow is None else region.detail_flow(flow, effective, composition.detail, place)
    after = before
    if region.shows_generated:
        mouth = part_weight(place.parts, ("lip", "mouth"), size, REACH)
        mouth = np.maximum(mouth, warp(mouth, flow)).clip(0, 1)
        after = compose(inputs.crop, inputs.generated, mask, composition, inputs.unedited, flow, mouth)
    return region.limit(EditedCrop(before, after, detail_flow, place)), detail_flow


PARTS_KEY = "parts"
"""Key of the crop's label map among a face's saved flows."""
DYE_KEY = "dye"
"""Key, among a face's saved flows, of the dye of its hair: red, green, blue and amount, float32 (4,)."""
UNEDITED_MASK = "unedited_mask"
"""Key, among a face's saved flows, of the mask of the unedited pass; saved if the edited pass has a mask of its own."""


@dataclass(frozen=True, eq=False)
class StoredFace:
    """An edited face in the precision of its files, so that composing it again gives identical pictures.

    crop, unedited, generated: uint8 (S, S, 3). mask: float16 (S, S), of the edited pass. parts: the crop's label map.
    unedited_mask: float16 (S, S), of the unedited pass; None if it is the same. dye: of the hair, or None.
    """

    crop: Pixels
    unedited: Pixels
    generated: Pixels
    mask: NDArray[np.floating]
    parts: PartMap
    unedited_mask: NDArray[np.floating] | None = None
    dye: Dye | None = None

    @property
    def is_unedited(self) -> bool:
        """True if the edit left the generated picture unchanged."""
        return self.unedited_mask is None and np.array_equal(self.unedited, self.generated)


@dataclass(frozen=True, eq=False)
class Composites:
    """Composites of a face without and with the edit, uint8 (S, S, 3), and the flows of the edit.

    detail_flow: for `paste_back.Patch`, (S, S, 2). edit_flow: as it is saved, float16 (2, s, s).
    """

    before: Pixels
    after: Pixels
    detail_flow: Flow | None = None
    edit_flow: NDArray[np.float16] | None = None


def unedited_composite(face: StoredFace, composition: Composition) -> Levels:
    """Composites a face without its edit. → float32 (S, S, 3) in grey levels.

    If the composition restores a share of the residual, the whole residual is restored: the result is the photo, and
    what the edited picture lacks of it is part of the edit.
    """
    if composition.restores_residual:
        composition = composition.model_copy(update={"detail": 1.0, "colour": 1.0})
    mask = face.mask if face.unedited_mask is None else face.unedited_mask
    return compose(_levels(face.crop), _levels(face.unedited), mask.astype(np.float32), composition)


def compose_stored(
    face: StoredFace,
    before: Levels,
    composition: Composition,
    crop_scale: float,
    saved_flow: NDArray[np.floating] | None = None,
) -> Composites:
    """Composites an edited face.

    before: its `unedited_composite`. saved_flow (2, s, s): its edit flow, estimated if None. Composites of a grey crop
    are grey.
    """
    plain = matching_colour(rounded(before), face.crop)
    if face.is_unedited:
        return Composites(plain, matching_colour(rounded(with_dye(before, face, None)), face.crop))
    crop, unedited, generated = (_levels(p) for p in (face.crop, face.unedited, face.generated))
    mask = face.mask.astype(np.float32)
    if saved_flow is None and (found := edit_flow(unedited, generated, mask, composition, crop_scale)) is not None:
        saved_flow = found.transpose(2, 0, 1)
    stored = None if saved_flow is None else saved_flow.astype(np.float16)
    flow = None if stored is None else np.ascontiguousarray(stored.transpose(1, 2, 0), dtype=np.float32)
    inputs = CompositionInputs(crop, unedited, generated, mask, flow)
    place = Place(face.parts, composition.keep, composition.changed_parts, crop_scale)
    after, detail_flow = compose_edit(inputs, before, composition, place)
    dyed_after = with_dye(after, face, detail_flow)
    return Composites(plain, matching_colour(rounded(dyed_after), face.crop), detail_flow, stored)


def dye_array(dye: Dye) -> NDArray[np.float32]:
    """A dye as it is saved."""
    return np.array([*dye.colour, dye.amount], dtype=np.float32)


def read_dye(arrays: Mapping[str, NDArray[Any]]) -> Dye | None:
    """The dye among a face's saved flows; None if there is none."""
    if DYE_KEY not in arrays:
        return None
    red, green, blue, amount = arrays[DYE_KEY].tolist()
    return Dye((round(red), round(green), round(blue)), amount)


def with_dye(composite: Levels, face: StoredFace, flow: Flow | None) -> Levels:
    """Adds the change of the crop by the face's dye, if it has one, to a composite (S, S, 3), moved by the flow."""
    if face.dye is None:
        return composite
    crop = _levels(face.crop)
    return composite + warp(dyed(crop, face.parts, face.dye) - crop, flow)


def _levels(pixels: Pixels) -> Levels:
    return pixels.astype(np.float32)


def effective_mask(mask: Mask, composition: Composition) -> Mask:
    """Applies the composition's threshold and feather to a mask. → (H, W) in [0, 1]."""
    return feathered(thresholded(mask, composition.keep_above), composition.feather)


def thresholded(mask: Mask, threshold: float) -> Mask:
    """Sets mask values up to the threshold, in [0, 1), to 0 and rescales the rest linearly to [0, 1]."""
    if threshold == 0:
        return mask
    return np.asarray((mask - threshold).clip(0) / (1 - threshold), dtype=np.float32)


def feathered(mask: Mask, feather: float) -> Mask:
    """Adds a slope of about `feather` pixels outside the masked area; no mask value decreases."""
    if feather == 0:
        return mask
    return np.maximum(mask, cv2.GaussianBlur(mask, (0, 0), feather / 2))
