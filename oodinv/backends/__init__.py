"""Backends that run networks on a CPU: a module for each, and one line in BACKENDS. `--backend` offers what is listed.

A backend's module has `start(graph: Path, threads: int) -> Session`, which compiles an ONNX file.
"""

from dataclasses import dataclass
from importlib.util import find_spec

from oodinv.errors import OodinvError
from oodinv.records import Choice, choose


@dataclass(frozen=True)
class Backend(Choice):
    """A backend. packages: what its module and the conversion import. extra: of oodinv, that installs them."""

    packages: tuple[str, ...] = ()
    extra: str = ""

    @property
    def missing(self) -> list[str]:
        """Packages that are not installed."""
        return [package for package in self.packages if find_spec(package) is None]


BACKENDS: tuple[Backend, ...] = (
    Backend(
        "onnxruntime", "ONNX Runtime", "oodinv.backends.onnx_runtime", ("onnxruntime", "onnx", "onnxscript"), "onnx"
    ),
    Backend("openvino", "OpenVINO", "oodinv.backends.openvino", ("openvino", "onnx", "onnxscript"), "openvino"),
)
"""All backends beside PyTorch, the fastest first: `auto` takes the first that is installed."""

TORCH, AUTO = "torch", "auto"


def select(name: str, device: str, dtype: str) -> Backend | None:
    """Returns the backend for a value of `--backend`; None for PyTorch. device, dtype: as torch names them.

    Raises:
        ValueError: there is no such backend. OodinvError: it is not installed, or can't do what is asked for.
    """
    fits = device == "cpu" and dtype == "float32"
    if name == TORCH or (name == AUTO and not fits):
        return None
    if name == AUTO:
        return next((backend for backend in BACKENDS if not backend.missing), None)
    backend = choose(BACKENDS, name, "backend")
    if not fits:
        raise OodinvError(
            f"the backend {name} computes in float32 on the CPU; leave out --device and --dtype, or use --backend torch"
        )
    require(backend)
    return backend


def require(backend: Backend) -> None:
    """Raises OodinvError: packages of the backend are not installed; says how to install them."""
    if backend.missing:
        raise OodinvError(
            f"{backend.summary} needs {', '.join(backend.missing)}: pip install 'oodinv[{backend.extra}]'"
        )
