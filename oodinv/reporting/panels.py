"""Panels of results: before, after, difference, mask and flow."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from oodinv.imaging.flow import flow_colours
from oodinv.imaging.pixels import Pixels
from oodinv.runs.results import Results, read_flows, read_picture

THUMBNAIL = 256
"""Side in pixels of the pictures on sheets and pages."""
COLUMNS = ("before", "after", "difference", "mask", "flow")


@dataclass(frozen=True, eq=False)
class Panel:
    """Pictures of one result.

    before, after: uint8 (S, S, 3). mask: uint8 (S, S), 255 = copied from the photo. flow: (2, s, s) in grid units, or
    None. files: those of before and after, relative to the folder of the run; none if they were not written.
    """

    name: str
    before: Pixels
    after: Pixels
    mask: Pixels
    flow: NDArray[np.floating] | None
    files: tuple[str, str] | None = None

    def at_most(self, size: int) -> "Panel":
        """Scales the pictures down to at most (size, size), so that many panels fit memory."""
        if self.before.shape[0] <= size:
            return self
        before, after, mask = (scaled_to(p, size) for p in (self.before, self.after, self.mask))
        return replace(self, before=before, after=after, mask=mask)

    def pictures(self, size: int) -> list[Pixels]:
        """Returns the pictures of `COLUMNS` in order, each uint8 (size, size, 3)."""
        still = np.zeros((2, 1, 1)) if self.flow is None else self.flow
        grey = np.repeat(self.mask[..., None], 3, axis=2)
        return [scaled_to(p, size) for p in (self.before, self.after, difference(self), grey, flow_colours(still))]


def panels(results: Results) -> Iterator[Panel]:
    """Yields one panel per face of a run; a mask or flow that was not saved is left empty.

    Raises:
        ImageError: a crop or a composite is missing or damaged.
    """
    command = f"oodinv {results.header.command}"
    for face in results.all_faces():
        files = f"aligned/{face.crop}.png", f"composites/{face.name}.png"
        before, after = (read_picture(results.path / file, command) for file in files)
        flows_path = results.path / f"flows/{face.name}.npz"
        flows = read_flows(flows_path, command) if flows_path.is_file() else {}
        mask = np.rint(flows.get("mask", np.zeros(before.shape[:2])).astype(np.float32) * 255).astype(np.uint8)
        yield Panel(face.name, before, after, mask, finest_flow(flows), files)


def finest_flow(flows: dict[str, NDArray[np.floating]]) -> NDArray[np.floating] | None:
    """Returns the saved flow of the largest size, (2, S, S), or None if there is none."""
    found = [array for key, array in flows.items() if key.startswith("flow_")]
    return max(found, key=lambda array: array.shape[-1], default=None)


def difference(panel: Panel) -> Pixels:
    """Computes 128 + 2 (after − before), clipped to uint8 (S, S, 3): lighter where the result is lighter."""
    change: NDArray[np.float32] = np.subtract(panel.after, panel.before, dtype=np.float32)
    return np.asarray(np.rint(128 + 2 * change).clip(0, 255), dtype=np.uint8)


def scaled_to(pixels: Pixels, size: int) -> Pixels:
    """Resizes a square picture (S, S, 3) or (S, S): area average to shrink, bicubic to enlarge."""
    how = cv2.INTER_AREA if pixels.shape[0] > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (size, size), interpolation=how), dtype=np.uint8)
