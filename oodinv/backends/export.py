"""Writes a model's networks as ONNX or OpenVINO files, with a description in export.json."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch

import oodinv
from oodinv.backends import BACKENDS, Backend
from oodinv.backends.base import Graph
from oodinv.backends.compiled import check
from oodinv.backends.graphs import StoredNoise, aligned_graph, encoder_graph, generator_graph, pipeline_graph
from oodinv.backends.onnx_file import OPSET, write_onnx
from oodinv.imaging.files import atomic_write
from oodinv.weights.build import Model

FormatName = Literal["onnx", "openvino"]

DESCRIPTION = "export.json"

MEANINGS = {
    "image": "aligned crops, RGB in [-1, 1]",
    "w_plus": "latent codes",
    "features": "the encoder's feature maps for SAMM",
    "noise": "the photo's noise",
    "generated": "the generator's pictures, RGB in about [-1, 1], not clipped",
    "composite": "mask * image + (1 - mask) * generated",
    "mask": "in [0, 1], 1 = out of domain; mask_S is the mask at S px",
    "flow": "dx, dy in grid units: 2 is the width of the picture",
}
"""Inputs and outputs by their names, without sizes."""


def backend_for(name: FormatName) -> Backend:
    """The backend that runs files of a format."""
    return next(backend for backend in BACKENDS if backend.extra == name)


def graphs_of(model: Model, noise: StoredNoise, batch: int) -> Iterator[Graph]:
    """Encoder, generator, generator with SAMM where there is one, and all of them in one."""
    encoder, generator, samm = model.encoder, model.generator, model.samm
    yield encoder_graph(encoder, generator, samm, batch)
    yield generator_graph(generator, noise, encoder.noise_channels, batch)
    if samm is not None:
        yield aligned_graph(encoder, generator, samm, noise, encoder.noise_channels, batch)
    yield pipeline_graph(encoder, generator, samm, noise, batch)


def export(
    model: Model, format: FormatName, folder: Path, noise: StoredNoise = "fixed", batch: int = 1
) -> Iterator[str]:
    """Converts each graph, compares its results with PyTorch's, and yields the names of files as they are written.

    Raises:
        OodinvError: a network can't be converted, or gives other results. OutputError: a file can't be written.
    """
    backend, graphs = backend_for(format), []
    for graph in graphs_of(model, noise, batch):
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary, f"{graph.name}.onnx")
            write_onnx(graph, path)
            files = [path]
            if format == "openvino":
                ir = path.with_suffix(".xml")
                backend.load().write_ir(path, ir)
                files = [ir, path.with_suffix(".bin")]
            check(graph, backend.load().start(files[0], 1), f"{backend.name} with {graph.name}")
            for file in files:
                _write(folder / file.name, file.read_bytes())
                yield file.name
        graphs.append(_described(graph, [file.name for file in files]))
    description = {
        "oodinv": oodinv.__version__,
        "model": model.card.model_dump(mode="json", exclude_none=True),
        "weights": {str(role): digest for role, digest in model.sha256.items()},
        "format": format,
        "opset": OPSET,
        "noise": noise,
        "values": "float32",
        "meanings": MEANINGS,
        "graphs": graphs,
    }
    _write(folder / DESCRIPTION, (json.dumps(description, indent=2) + "\n").encode())
    yield DESCRIPTION


def _write(path: Path, content: bytes) -> None:
    atomic_write(path, lambda file: file.write(content))


def _described(graph: Graph, files: list[str]) -> dict[str, Any]:
    with torch.inference_mode():
        found = graph.network(*graph.inputs.values())
    return {
        "name": graph.name,
        "files": files,
        "inputs": {name: list(tensor.shape) for name, tensor in graph.inputs.items()},
        "outputs": {name: list(tensor.shape) for name, tensor in zip(graph.outputs, found, strict=True)},
    }
