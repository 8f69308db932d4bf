"""OpenVINO."""

from pathlib import Path

import numpy as np
import openvino

from oodinv.backends.base import Arrays, Session


def start(graph: Path, threads: int) -> Session:
    """Compiles an ONNX file for a number of threads, in float32 on processors with bfloat16 too."""
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.Core().compile_model(str(graph), "CPU", settings).create_infer_request()

    def run(arrays: Arrays) -> Arrays:
        return [np.array(value) for value in request.infer(arrays).values()]

    return run


def write_ir(graph: Path, path: Path) -> None:
    """Converts an ONNX file to OpenVINO's format, PATH.xml and PATH.bin, in float32."""
    openvino.save_model(openvino.convert_model(str(graph)), str(path), compress_to_fp16=False)
