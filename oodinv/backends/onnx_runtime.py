"""ONNX Runtime."""

from pathlib import Path

import onnxruntime

from oodinv.backends.base import Arrays, Session


def start(graph: Path, threads: int) -> Session:
    """Compiles an ONNX file for a number of threads."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    settings.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(arrays: Arrays) -> Arrays:
        found: Arrays = session.run(None, dict(zip(names, arrays, strict=True)))
        return found

    return run
