"""The label map of a face's crop, saved by its inversion or found anew."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from oodinv.compositing.compose import PARTS_KEY
from oodinv.faces.parts import PartMap
from oodinv.imaging.pixels import Pixels


def parts_of(crop: Pixels, flows: Mapping[str, NDArray[Any]]) -> PartMap:
    """Returns the label map (s, s) among a face's saved arrays; where there is none, parses the crop uint8 (S, S, 3).

    flows: as `runs.results.read_flows` returns them, which checks the label map.
    """
    saved = flows.get(PARTS_KEY)
    if saved is not None:
        return saved
    from oodinv.inversion import parse  # loads torch, which `blend` doesn't need otherwise

    return parse([crop])[0]
