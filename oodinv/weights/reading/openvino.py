"""Reads networks in OpenVINO's intermediate representation: a graph in NAME.xml, its constants in NAME.bin.

The graph is parsed with expat, without document types, entities or external references; no code in it is run.

Source: the schema of IR version 10 and 11: `net/layers/layer[@id, @name, @type]` with one `data`, and
`net/edges/edge[@from-layer, @to-layer, @to-port]`. A layer of type Const has `element_type`, `shape`, `offset` and
`size` in its `data`; the latter two are places in NAME.bin, little-endian.
"""

import math
import xml.parsers.expat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oodinv.errors import MissingWeights, UnknownLayout, WeightsError

MAX_XML = 16 << 20
"""Upper bound on the size of a graph in bytes."""

MAX_LAYERS = 20_000
MAX_SIDES = 8

ELEMENTS = {"f32": "<f4", "f16": "<f2", "i64": "<i8", "i32": "<i4"}
"""Supported element types, and NumPy's names for them."""

VERSIONS = ("10", "11")

Layer = dict[str, Any]


def is_graph(head: bytes) -> bool:
    """Returns True if these first bytes are those of a graph."""
    return b"<net " in head[:512] and head.lstrip().startswith((b"<?xml", b"<net "))


def graphs_in(path: Path) -> list[Path]:
    """Lists the graphs in a folder, or the graph at a path."""
    return sorted(path.glob("*.xml")) if path.is_dir() else [path]


def read(path: Path) -> dict[str, Any]:
    """Reads a graph, or all graphs in a folder: {network: {"constants": {layer: tensor}, "layers": [...]}}.

    A layer is a dict of `name`, `type`, `attributes` and `inputs`: places in the list of layers, in order of ports.

    Raises:
        MissingWeights: a graph has no NAME.bin beside it.
        WeightsError: a file is damaged; the message names it if it is not `path`.
    """
    return {graph.stem: _network(graph) for graph in graphs_in(path)}


def _network(graph: Path) -> dict[str, Any]:
    constants = graph.with_suffix(".bin")
    if not constants.is_file():
        raise MissingWeights(f"{graph.name} has no {constants.name} beside it; put both into one folder")
    try:
        layers = _Parser().layers(graph)
        data = np.memmap(constants, dtype=np.uint8, mode="r") if constants.stat().st_size else np.empty(0, np.uint8)
        values = {layer["name"]: _constant(layer, data) for layer in layers if layer["type"] == "Const"}
    except _DamageError as error:
        raise WeightsError(f"{graph.name} or {constants.name} is damaged: {error}; get both files again") from error
    return {"constants": values, "layers": [{k: v for k, v in layer.items() if k != "id"} for layer in layers]}


class _DamageError(ValueError):
    """A graph or its constants are damaged."""


def _number(attributes: dict[str, str], key: str, most: int) -> int:
    text = attributes.get(key, "")
    if not text.isdecimal() or len(text) > 18 or int(text) > most:
        raise _DamageError(f"{key}={text!r} is not a number up to {most}")
    return int(text)


def _constant(layer: Layer, data: "np.ndarray[Any, np.dtype[np.uint8]]") -> Tensor:
    """Copies the values of a layer of type Const."""
    attributes, name = layer["attributes"], layer["name"]
    kind = ELEMENTS.get(attributes.get("element_type", ""))
    if kind is None:
        raise _DamageError(
            f"{name} has elements of type {attributes.get('element_type')!r}, known are {', '.join(ELEMENTS)}"
        )
    sides = [side.strip() for side in attributes.get("shape", "").split(",") if side.strip()]
    if len(sides) > MAX_SIDES or not all(side.isdecimal() and len(side) < 12 for side in sides):
        raise _DamageError(f"{name} has the shape {attributes.get('shape')!r}")
    shape, dtype = [int(side) for side in sides], np.dtype(kind)
    offset, size = (_number(attributes, key, len(data)) for key in ("offset", "size"))
    if math.prod(shape) * dtype.itemsize != size:
        raise _DamageError(f"{name} has {size} bytes for the shape {shape} of {attributes['element_type']}")
    if offset + size > len(data):
        raise _DamageError(f"{name} lies at bytes {offset} to {offset + size}, the file has {len(data)}")
    values = np.frombuffer(data[offset : offset + size].tobytes(), dtype).reshape(shape)
    return torch.from_numpy(values.astype(dtype.newbyteorder("="), copy=True))


class _Parser:
    """Collects layers and edges from expat's events; ignores the rest of the graph."""

    def __init__(self) -> None:
        self._layers: list[Layer] = []
        self._edges: list[tuple[str, int, str]] = []
        self._path: list[str] = []
        self._expat = xml.parsers.expat.ParserCreate()
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.StartDoctypeDeclHandler = self._refuse
        self._expat.EntityDeclHandler = self._refuse

    def layers(self, graph: Path) -> list[Layer]:
        """Returns all layers with their inputs."""
        if graph.stat().st_size > MAX_XML:
            raise _DamageError(f"{graph.name} has more than {MAX_XML >> 20} MB")
        try:
            self._expat.Parse(graph.read_bytes(), True)
        except xml.parsers.expat.ExpatError as error:
            raise _DamageError(f"{graph.name} is not complete XML ({error})") from error
        return self._joined()

    def _joined(self) -> list[Layer]:
        places = {layer["id"]: place for place, layer in enumerate(self._layers)}
        if not places:
            raise _DamageError("it has no layers")
        if len(places) < len(self._layers) or len({layer["name"] for layer in self._layers}) < len(self._layers):
            raise _DamageError("two layers have the same id or name")
        inputs: dict[str, dict[int, int]] = {}
        for source, port, target in self._edges:
            if source not in places or target not in places:
                raise _DamageError(f"an edge leads from layer {source} to {target}, which are not both there")
            inputs.setdefault(target, {})[port] = places[source]
        for layer in self._layers:
            layer["inputs"] = [place for _, place in sorted(inputs.get(layer["id"], {}).items())]
        return self._layers

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag)
        match self._path:
            case ["net"]:
                if attributes.get("version") not in VERSIONS:
                    known = " and ".join(VERSIONS)
                    raise UnknownLayout(
                        f"is an OpenVINO network of version {attributes.get('version')}; {known} are read"
                    )
            case [tag]:
                raise UnknownLayout(f"is XML of another kind than an OpenVINO network (<{tag}>)")
            case ["net", "layers", "layer"]:
                if len(self._layers) == MAX_LAYERS:
                    raise _DamageError(f"it has more than {MAX_LAYERS} layers")
                kind = attributes.get("type", "")
                self._layers.append(
                    {"id": attributes.get("id", ""), "name": attributes.get("name", ""), "type": kind, "attributes": {}}
                )
            case ["net", "layers", "layer", "data"]:
                self._layers[-1]["attributes"] = dict(attributes)
            case ["net", "edges", "edge"]:
                port = _number(attributes, "to-port", 1000)
                self._edges.append((attributes.get("from-layer", ""), port, attributes.get("to-layer", "")))

    def _end(self, tag: str) -> None:  # noqa: ARG002
        self._path.pop()

    def _refuse(self, *declaration: object) -> None:  # noqa: ARG002
        raise WeightsError("declares a document type or entities, which no network needs; refused")
