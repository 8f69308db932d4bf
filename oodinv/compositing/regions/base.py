"""Interface of regions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from oodinv.imaging.pixels import Flow, Levels, Mask

FlowKind = Literal["turn", "motion"]
"""Kinds of edit flow, which are also their keys among a face's saved flows: the rotation of a head, or optical flow."""


@dataclass(frozen=True, eq=False)
class EditedCrop:
    """Composites of a crop before the edit is limited to a region.

    before, after (S, S, 3): composites without and with the edit. unedited (S, S, 3): the generated picture without the
    edit. flow (S, S, 2): the offsets in pixels by which the photo's own detail moves, or None. crop_scale: see
    `framing.ffhq_quad`.
    """

    before: Levels
    after: Levels
    unedited: Levels
    flow: Flow | None
    crop_scale: float


class Region(ABC):
    """Region that limits an edit.

    A generator changes the background along with the face, so that pasting the whole crop would show its border, and
    its contours differ slightly from the photo's. Each region handles both in its own way.
    """

    shows_generated: bool = True
    """True if generated pixels appear in the result; otherwise the photo's own pixels are warped."""

    @abstractmethod
    def weight(self, size: int, crop_scale: float) -> Mask:
        """Weight of the edit at each pixel, (size, size) in [0, 1]."""

    @abstractmethod
    def limit(self, edit: EditedCrop) -> Levels:
        """Limits an edit to the region; outside it the unedited composite is returned. → (S, S, 3)."""

    def flow_kind(self, restores_residual: bool) -> FlowKind | None:
        """Kind of edit flow that the region needs; restores_residual: see `Composition.restores_residual`."""
        return "motion" if restores_residual else None

    def detail_flow(self, flow: Flow, mask: Mask, detail: float, crop_scale: float) -> Flow | None:
        """Offsets by which the photo's own detail moves when the edit is pasted, (S, S, 2) in pixels; None for none.

        flow (S, S, 2): the edit flow. mask (S, S): the effective mask, 1 = copied from the photo. detail: see
        `Composition.detail`.
        """
        if detail == 0:
            return None
        masked = flow * (1 - mask)[..., None]
        return self.smoothed_flow(masked) * (detail * self.weight(len(mask), crop_scale))[..., None]

    def smoothed_flow(self, flow: Flow) -> Flow:
        """Smooths the masked edit flow (S, S, 2) before it is weighted; the default is the identity."""
        return flow
