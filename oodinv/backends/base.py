"""Networks that backends compile, and the form of their results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

Arrays = list[NDArray[np.float32]]

Session = Callable[[Arrays], Arrays]
"""A compiled graph: arrays of its inputs in order → arrays of its outputs in order, which the caller may keep."""


@dataclass(frozen=True, eq=False)
class Graph:
    """A network as a function of tensors, with all shapes fixed.

    name: of its file. inputs: an example of each. outputs: names, in the order of the tuple that the network returns.
    """

    name: str
    network: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
