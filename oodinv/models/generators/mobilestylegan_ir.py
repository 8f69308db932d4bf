"""MobileStyleGAN's parameters out of the graphs of its OpenVINO files, where most constants have no name of their own.

Weights that keep their PyTorch names are found by these; the others by the layers that use them. Everything else in the
graphs (gains, slopes, wavelet filters) is arithmetic that `mobilestylegan` has too: it is compared with it, so that a
network with other arithmetic is refused and not misread.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from oodinv.models.naming import Settings, State
from oodinv.models.ops import ACTIVATION_GAIN, LEAKY_SLOPE

MAPPING, SYNTHESIS = "MappingNetwork", "SynthesisNetwork"

OPERATIONS = {
    MAPPING: {"Parameter", "Const", "Power", "ReduceMean", "Add", "Multiply", "MatMul", "PReLU", "Result"},
    SYNTHESIS: {
        "Parameter", "Const", "Add", "Multiply", "MatMul", "PReLU", "Convolution", "GroupConvolution",
        "GroupConvolutionBackpropData", "VariadicSplit", "Broadcast", "Tile", "Squeeze", "Result",
    },
}  # fmt: skip
"""Operations of both networks, besides those that compute shapes."""

SHAPE_OPERATIONS = {"ShapeOf", "Gather", "Unsqueeze", "Concat", "Reshape"}

SCALARS = (1.0, 2.0, 1e-8, 0.5, -1.0, LEAKY_SLOPE, ACTIVATION_GAIN)
"""Numbers in the mapping network's normalisation and activations."""

HAAR = math.sqrt(0.5)
"""Magnitude of the taps of its wavelet filters."""


@dataclass(frozen=True)
class Node:
    """One layer of a graph; `inputs` and `outputs` are other layers' numbers, the former in order of the ports."""

    name: str
    type: str
    attributes: Mapping[str, str]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class IrGraph:
    """Layers of one network and its constants; records which of these are used."""

    def __init__(self, network: str, tensors: State, settings: Settings) -> None:
        """Raises ValueError: there is no such network, or it has operations that MobileStyleGAN has not."""
        layers: Any = settings.get(f"{network}.layers")
        if not isinstance(layers, list):
            raise ValueError(f"it lacks {network}.xml")
        outputs: dict[int, list[int]] = {}
        for number, layer in enumerate(layers):
            for source in layer["inputs"]:
                outputs.setdefault(source, []).append(number)
        self.network, self.tensors = network, tensors
        self.nodes = [
            Node(x["name"], x["type"], x["attributes"], tuple(x["inputs"]), tuple(outputs.get(n, ())))
            for n, x in enumerate(layers)
        ]
        self.by_name = {node.name: number for number, node in enumerate(self.nodes)}
        self.used = set[int]()
        if strange := {node.type for node in self.nodes} - OPERATIONS[network] - SHAPE_OPERATIONS:
            raise ValueError(f"{network} has operations that MobileStyleGAN has not ({', '.join(sorted(strange))})")

    def number(self, name: str) -> int:
        """The layer of that name."""
        if name not in self.by_name:
            raise ValueError(f"{self.network} has no layer {name}")
        return self.by_name[name]

    def constant(self, number: int) -> Tensor:
        """A constant's values."""
        self.used.add(number)
        return self.tensors[f"{self.network}.constants.{self.nodes[number].name}"]

    def named(self, name: str) -> Tensor:
        """The values of the constant of that name."""
        number = self.number(name)
        if self.nodes[number].type != "Const":
            raise ValueError(f"{self.network}: {name} is no constant")
        return self.constant(number)

    def after(self, number: int, kind: str) -> int:
        """The one layer of a type that uses a layer's output."""
        found = [n for n in self.nodes[number].outputs if self.nodes[n].type == kind]
        if len(found) != 1:
            raise ValueError(
                f"{self.network}: {len(found)} layers {kind} use {self.nodes[number].name}, one was expected"
            )
        return found[0]

    def operand(self, number: int) -> Tensor:
        """The one constant among a layer's inputs, straight or reshaped."""
        found = [n for source in self.nodes[number].inputs for n in self._reshaped(source)]
        if len(found) != 1:
            raise ValueError(f"{self.network}: {self.nodes[number].name} has {len(found)} constants, one was expected")
        return self.constant(found[0])

    def _reshaped(self, number: int) -> Iterator[int]:
        node = self.nodes[number]
        if node.type == "Reshape" and node.inputs:
            number = node.inputs[0]
        if self.nodes[number].type == "Const":
            yield number

    def check_rest(self, gains: set[float]) -> None:
        """Raises ValueError for a constant that was not asked for and is none of the arithmetic's.

        gains: single numbers that may be multiplied with or added.
        """
        for number, node in enumerate(self.nodes):
            if node.type != "Const" or number in self.used:
                continue
            value = self.constant(number)
            if not value.is_floating_point():
                continue  # axes and shapes
            if value.numel() == 1:
                fits = any(math.isclose(float(value), gain, rel_tol=1e-5) for gain in gains)
            else:
                taps = value.flatten(1).abs()
                fits = value.ndim == 5 and bool(torch.allclose(taps, torch.full_like(taps, HAAR), atol=1e-5))
            if not fits:
                raise ValueError(f"{self.network} has a constant {node.name} that MobileStyleGAN has not")


def arrange(tensors: State, settings: Settings) -> dict[str, Tensor]:
    """The constants of both networks under the names of `MobileStyleGAN`'s parameters.

    Raises:
        ValueError: one of the two networks is missing, incomplete, or not the published one.
    """
    return _mapping(IrGraph(MAPPING, tensors, settings)) | _synthesis(IrGraph(SYNTHESIS, tensors, settings))


def _mapping(graph: IrGraph) -> dict[str, Tensor]:
    """In the order of the graph: x @ Wᵀ + b, leaky ReLU, times √2."""
    found: dict[str, Tensor] = {}
    products = [number for number, node in enumerate(graph.nodes) if node.type == "MatMul"]
    for index, number in enumerate(products):
        weight = graph.operand(number)
        transposed = graph.nodes[number].attributes.get("transpose_b") == "true"
        bias = graph.after(number, "Add")
        graph.after(graph.after(bias, "PReLU"), "Multiply")
        found[f"mapping.{index}.weight"] = weight if transposed else weight.t()
        found[f"mapping.{index}.bias"] = graph.operand(bias).flatten()
    graph.check_rest(set(SCALARS))
    return found


def _synthesis(graph: IrGraph) -> dict[str, Tensor]:
    """Renames by the published names, and by the layers that use these constants."""
    found = {"const": _first(graph.named("m.input.input"))}
    gains = {LEAKY_SLOPE}

    def affine(source: str, target: str) -> None:
        found[f"{target}.weight"] = graph.named(f"{source}.weight")
        found[f"{target}.bias"] = graph.named(f"{source}.bias").flatten()

    def styled(source: str, target: str, convolution: int) -> None:
        affine(f"{source}.conv.modulation", f"{target}.affine")
        noise = graph.after(convolution, "Add")
        found[f"{target}.weight"] = graph.operand(convolution)
        found[f"{target}.noise"] = _first(_first(graph.operand(noise)))
        graph.after(graph.after(noise, "Add"), "PReLU")
        found[f"{target}.bias"] = graph.named(f"{source}.bias").flatten()
        gains.add(1 / math.sqrt(9 * found[f"{target}.affine.bias"].numel()))

    def separable(source: str, target: str) -> None:
        name = f"{source}.conv.weight_dw"
        depthwise = graph.after(graph.number(name), "GroupConvolution")
        found[f"{target}.depthwise"] = graph.named(name).flatten(1, 2)
        styled(source, target, graph.after(depthwise, "Convolution"))
        found[f"{target}.weight"] = found[f"{target}.weight"].flatten(1)

    dense = [n for n, node in enumerate(graph.nodes) if node.type == "Convolution" and _first_convolution(graph, n)]
    if len(dense) != 1:
        raise ValueError(f"{SYNTHESIS} has {len(dense)} dense convolutions, one was expected")
    styled("m.conv1", "conv1", dense[0])
    layers = sorted({int(m[1]) for name in graph.by_name if (m := re.fullmatch(r"m\.layers\.(\d+)\.up\..*", name))})
    if layers != list(range(len(layers))) or not layers:
        raise ValueError(f"{SYNTHESIS} has blocks {layers}")
    for index in layers:
        source, target = f"m.layers.{index}", f"blocks.{8 << index}"
        affine(f"{source}.up.modulation", f"{target}.up")
        separable(f"{source}.conv1", f"{target}.conv1")
        separable(f"{source}.conv2", f"{target}.conv2")
    last = f"m.layers.{layers[-1]}.to_img"
    affine(f"{last}.conv.modulation", "to_image.affine")
    found["to_image.weight"] = graph.named(f"{last}.conv.weight").flatten(1)
    found["to_image.bias"] = graph.named(f"{last}.bias").flatten()
    gains.add(1 / math.sqrt(found["to_image.affine.bias"].numel()))
    graph.check_rest(gains)
    return found


def _first_convolution(graph: IrGraph, number: int) -> bool:
    """True if a convolution has constant 3 × 3 weights."""
    constants = (n for n in graph.nodes[number].inputs if graph.nodes[n].type == "Const")
    return any(graph.tensors[f"{graph.network}.constants.{graph.nodes[n].name}"].shape[2:] == (3, 3) for n in constants)


def _first(x: Tensor) -> Tensor:
    """Takes off a leading axis of length 1."""
    if x.ndim == 0 or x.shape[0] != 1:
        raise ValueError(f"a constant has shape {tuple(x.shape)} where a leading 1 was expected")
    return x[0]
