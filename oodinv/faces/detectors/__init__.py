"""Face detectors: a module for each, and one line in DETECTORS. `--detector` offers what is listed here."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oodinv.faces.detectors.base import Detector


@dataclass(frozen=True)
class DetectorKind:
    """A detector that can be chosen by name.

    name: as `--detector` has it. summary: a few words for the help. module: has
    `load(fetch: Callable[[str], Path], device: str) -> Detector`, and is imported only when it is chosen.
    """

    name: str
    summary: str
    module: str


DETECTORS: tuple[DetectorKind, ...] = (
    DetectorKind("yunet", "fast, five points", "oodinv.faces.detectors.yunet"),
    DetectorKind("face-alignment", "68 points, slow without a GPU", "oodinv.faces.detectors.face_alignment"),
)


def load_detector(name: str, fetch: Callable[[str], Path], device: str) -> "Detector":
    """Builds the detector of this name.

    fetch: gives the path of a catalog entry's file, as `weights.pull.pull` does. device: as torch names it; detectors
    that run on the CPU only ignore it.

    Raises:
        ValueError: there is no such detector; lists those there are. WeightsError: its network can't be had or read.
    """
    for kind in DETECTORS:
        if kind.name == name:
            detector: Detector = import_module(kind.module).load(fetch, device)
            return detector
    raise ValueError(f"no detector is named {name!r}; there are {', '.join(kind.name for kind in DETECTORS)}")
