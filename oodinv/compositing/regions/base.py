"""Interface of regions."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from oodinv.faces.parts import PartMap, part_weight
from oodinv.imaging.pixels import Flow, Levels, Mask, blurred_within, fading

FlowKind = Literal["turn", "motion"]
"""Kinds of edit flow, which are also their keys among a face's saved flows: the rotation of a head, or optical flow."""
KEPT = ("glasses", "hat", "earring", "necklace", "cloth")
"""Parts that generators draw anew, so that edits leave them alone."""
REACH = 1 / 64
"""Distance, as a share of the crop's side, that kept parts are enlarged by, so that their borders are kept too."""

SMOOTHNESS = 1 / 32
"""Standard deviation, as a share of the crop's side, of the blur of motion."""


@dataclass(frozen=True, eq=False)
class Place:
    """Area of a crop that an edit may change.

    parts: its label map. kept: names of parts that stay as they are; None for those of the region. changed: names of
    parts that change with the region's, even where the mask says that the generator can't draw them. crop_scale: see
    `framing.ffhq_quad`.
    """

    parts: PartMap
    kept: tuple[str, ...] | None = None
    changed: tuple[str, ...] = ()
    crop_scale: float = 1.0

    def changed_weight(self, size: int) -> Mask:
        """Weight of the changed parts, (size, size) in [0, 1]."""
        return part_weight(self.parts, self.changed, size, REACH)


@dataclass(frozen=True, eq=False)
class EditedCrop:
    """Composites of a crop before the edit is limited to a region.

    before, after (S, S, 3): composites without and with the edit. flow (S, S, 2): the offsets in pixels by which the
    photo's own detail moves, or None.
    """

    before: Levels
    after: Levels
    flow: Flow | None
    place: Place


class Region:
    """Region that limits an edit to some parts of the face.

    A generator changes the background along with the face, and draws a hat or glasses anew, so an edit is limited to
    the parts that it is about.
    """

    parts: ClassVar[tuple[str, ...]] = ()
    """Parts that an edit may change."""
    kept: ClassVar[tuple[str, ...]] = KEPT
    """Parts that stay as they are, unless a recipe says otherwise."""
    shows_generated: ClassVar[bool] = True
    """True if generated pixels appear in the result; otherwise the photo's own pixels are warped."""

    def weight(self, place: Place, size: int) -> Mask:
        """Weight of the edit at each pixel, (size, size) in [0, 1]."""
        changed = part_weight(place.parts, {*self.parts, *place.changed}, size)
        kept = set(self.kept if place.kept is None else place.kept) - set(place.changed)
        return np.asarray(changed * (1 - part_weight(place.parts, kept, size, REACH)), dtype=np.float32)

    def limit(self, edit: EditedCrop) -> Levels:
        """Limits an edit to the region; outside it the unedited composite is returned. → (S, S, 3)."""
        weight = self.weight(edit.place, edit.before.shape[0])
        return edit.before + weight[..., None] * (edit.after - edit.before)

    def flow_kind(self, restores_residual: bool) -> FlowKind | None:
        """Kind of edit flow that the region needs; restores_residual: see `Composition.restores_residual`."""
        return "motion" if restores_residual else None

    def steadied(self, flow: Flow, place: Place) -> Flow:
        """The edit flow, smooth but for the eyes, and falling to 0 towards hair and the region's outline. → (S, S, 2).

        Generators draw teeth, beards and strands anew, which looks like motion, and what is beside the face stays where
        it is.
        """
        size, smoothness = len(flow), SMOOTHNESS * len(flow)
        inside = part_weight(place.parts, set(self.parts) - {"hair"}, size)
        smooth = blurred_within(flow, inside, smoothness)
        eye = part_weight(place.parts, ("eye",), size, REACH)
        return np.asarray(
            fading(inside, smoothness)[..., None] * (smooth + eye[..., None] * (flow - smooth)), dtype=np.float32
        )

    def detail_flow(self, flow: Flow, mask: Mask, detail: float, place: Place) -> Flow | None:
        """Offsets by which the photo's own detail moves when the edit is pasted, (S, S, 2) in pixels; None for none.

        flow (S, S, 2): the edit flow. mask (S, S): the effective mask, 1 = copied from the photo. detail: see
        `Composition.detail`.
        """
        if detail == 0:
            return None
        weight = (1 - mask) * detail * self.weight(place, len(mask))
        return np.asarray(flow * weight[..., None], dtype=np.float32)
