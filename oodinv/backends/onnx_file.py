"""Converts graphs to ONNX files."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from oodinv.backends.base import Graph
from oodinv.errors import OodinvError
from oodinv.imaging.files import atomic_write

OPSET = 20
"""The first opset whose GridSample and Resize do what alignment needs."""


def write_onnx(graph: Graph, path: Path) -> None:
    """Converts a graph and writes it with its weights, up to 2 GB.

    Raises:
        OodinvError: it can't be converted. OutputError: the file can't be written.
    """
    network = graph.network.eval()
    inputs = tuple(graph.inputs.values())
    with torch.inference_mode(False), torch.no_grad(), _quiet():
        network(*inputs)  # constants that are made at the first call have to be tensors, not those of an export
        try:
            program = torch.onnx.export(
                network,
                inputs,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                external_data=False,
                optimize=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error).strip().splitlines()[0]
            raise OodinvError(f"{path}: the {graph.name} can't be converted to ONNX ({reason})") from error
    assert program is not None
    content = program.model_proto.SerializeToString()
    atomic_write(path, lambda file: file.write(content))


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds back what the exporter says of packages that it could use, and of its own future."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
