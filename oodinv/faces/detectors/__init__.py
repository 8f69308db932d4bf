"""Face detectors: a module for each, and one line in DETECTORS. `--detector` offers the entries of this list."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from oodinv.records import Choice, choose

if TYPE_CHECKING:
    from oodinv.faces.detectors.base import Detector


DETECTORS: tuple[Choice, ...] = (
    Choice("yunet", "fast, five points", "oodinv.faces.detectors.yunet"),
    Choice("face-alignment", "68 points, slow without a GPU", "oodinv.faces.detectors.face_alignment"),
)


def load_detector(name: str, fetch: Callable[[str], Path], device: str) -> "Detector":
    """Builds the detector with this name: `load(fetch, device)` of its module.

    fetch: gives the path of a catalog entry's file, as `weights.pull.pull` does. device: as torch names it; detectors
    that run on the CPU only ignore it.

    Raises:
        ValueError: there is no such detector; lists those there are. WeightsError: its network can't be downloaded or
        read.
    """
    detector: Detector = choose(DETECTORS, name, "detector").load().load(fetch, device)
    return detector
