"""The interface of regions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from oodinv.imaging.pixels import Flow, Levels, Mask

Movement = Literal["turn", "motion"]
"""Names, among the saved flows of a face, of the two movements that an edit may have: the turn of a head, which is
rigid, or any motion."""


@dataclass(frozen=True, eq=False)
class Change:
    """An edit of one crop before it is limited to a region.

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
    """Where an edit may change a crop, and how.

    A generator changes the background along with the face; pasted back, that would show the crop's border. It also
    draws contours elsewhere than the photo has them. Each region answers that in its own way.
    """

    generates: bool = True
    """Whether generated pixels are shown; otherwise the photo's own pixels only move."""

    @abstractmethod
    def reach(self, size: int, crop_scale: float) -> Mask:
        """Share of a change that each pixel may take, (size, size) in [0, 1]."""

    @abstractmethod
    def limit(self, change: Change) -> Levels:
        """Limits an edit to the region; outside it the unedited composite is returned. → (S, S, 3)."""

    def movement(self, gives_back: bool) -> Movement | None:
        """The movement that composing needs; `gives_back`: whether the photo's detail or colour is given back."""
        return "motion" if gives_back else None

    def carry(self, flow: Flow, kept: Mask, detail: float, crop_scale: float) -> Flow | None:
        """The offsets by which the photo's own detail moves when the edit is pasted, (S, S, 2); None for none.

        flow: the edit's movement. kept: the mask as the composition counts it. detail: share that is given back.
        """
        if detail == 0:
            return None
        return self.free(flow * (1 - kept)[..., None]) * (detail * self.reach(len(kept), crop_scale))[..., None]

    def free(self, flow: Flow) -> Flow:
        """The movement of what is not kept, before it is limited to the region's reach."""
        return flow
