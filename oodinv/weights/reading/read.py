"""Reads weight files in all supported containers; no code from a file is executed.

The container is recognised by its first bytes, not by the file's name. The result is always a flat dict of tensors and
a dict of settings.
"""

import argparse
import mmap
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open

from oodinv.errors import MissingWeights, UnknownLayout, WeightsError
from oodinv.weights.reading import inert, openvino, rebuild
from oodinv.weights.reading.damage import ARCHIVE_DAMAGE

Container = Literal["torch", "nvidia-pickle", "numpy-pickle", "safetensors", "onnx", "openvino"]


@dataclass(frozen=True)
class WeightsFile:
    """Contents of a weight file.

    tensors: flat; keys of nested dicts are joined with ".", as in `g_ema.conv1.conv.weight`, and so are the modules of
    an NVIDIA pickle, as in `G_ema.synthesis.b4.const`. settings: everything else by its joined key: values, and whole
    dicts or lists without tensors (`opts`, `G_ema.init_kwargs`, the metadata of a .safetensors file). An OpenVINO
    network NAME, or each of those in a folder, has its constants as `NAME.constants.LAYER`, and its graph in
    `settings["NAME.layers"]`.
    """

    path: Path
    container: Container
    tensors: dict[str, torch.Tensor]
    settings: dict[str, object]


def read(path: Path) -> WeightsFile:
    """Reads tensors and settings of a weight file, on the CPU.

    Raises:
        MissingWeights: there is no such file.
        UnknownLayout: it is not a weight file, but a web page, a Git LFS pointer, text, …
        WeightsError: it is damaged, or would execute code.
    """
    return flattened(path, read_values(path))


def flattened(path: Path, values: Any) -> WeightsFile:
    """Flattens the result of `read_values`.

    Raises:
        UnknownLayout: it is not a dict. WeightsError: two values have the same joined key.
    """
    tensors: dict[str, torch.Tensor] = {}
    settings: dict[str, object] = {}
    if not isinstance(values, dict):
        raise UnknownLayout(f"{path}: contains one {type(values).__name__}; expected a dict of tensors")
    try:
        _flatten(values, "", tensors, settings)
    except WeightsError as error:
        raise type(error)(f"{path}: {error}") from error
    return WeightsFile(path, container_of(path), tensors, settings)


def read_values(path: Path) -> Any:
    """Reads the nested contents of a weight file: dicts, lists, tensors, numbers, strings.

    Raises:
        MissingWeights, UnknownLayout, WeightsError: as `read`.
    """
    container = container_of(path)
    try:
        return rebuild.Rebuilder().plain(_READERS[container](path))
    except inert.RefusedError as refused:
        raise WeightsError(f"{path}: {_refusal(refused.name)}") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except WeightsError as error:
        raise type(error)(f"{path}: {error}") from error


def _flatten(
    values: Mapping[str, Any], prefix: str, tensors: dict[str, torch.Tensor], settings: dict[str, object]
) -> None:
    """Adds nested values to `tensors` and `settings` by their joined keys."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if name in tensors or name in settings:
            raise WeightsError(f"has two values for {name}")
        if isinstance(value, torch.Tensor):
            tensors[name] = value
        elif not _has_tensor(value):
            settings[name] = value
        else:
            _flatten(_by_key(value), f"{name}.", tensors, settings)


def _by_key(value: dict[str, Any] | list[Any]) -> dict[str, Any]:
    return value if isinstance(value, dict) else {str(index): item for index, item in enumerate(value)}


def _has_tensor(value: Any) -> bool:
    match value:
        case dict():
            return any(map(_has_tensor, value.values()))
        case list():
            return any(map(_has_tensor, value))
    return isinstance(value, torch.Tensor)


# Recognition


def container_of(path: Path) -> Container:
    """Recognises the container of a file by its first bytes.

    Raises:
        WeightsError: as `read`.
    """
    if not path.exists():
        raise MissingWeights(
            f"{path.absolute()}: there is no such file. Correct the path, or put the file there; "
            "`oodinv weights list` says where each file comes from"
        )
    if path.is_dir() and openvino.graphs_in(path):
        return "openvino"
    if not path.is_file():
        raise WeightsError(f"{path}: expected a weight file, found a folder without networks, or a device")
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if not head:
        raise WeightsError(f"{path}: is empty; download it again")
    if openvino.is_graph(head):
        return "openvino"
    for pattern, reason in _NOT_WEIGHTS:
        if pattern.match(head):
            raise UnknownLayout(f"{path}: is {reason}")
    return _container_of(path, head)


_NOT_WEIGHTS = (
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (re.compile(rb"(?i)\s*<(!doctype|html|head|\?xml)"), "a web page; download the file itself"),
    (re.compile(rb"\x1f\x8b"), "compressed with gzip; decompress it first"),
    (re.compile(rb"\x89HDF"), "an HDF5 file; expected a PyTorch conversion"),
    (re.compile(rb"\x89PNG|\xff\xd8\xff"), "a picture; expected a weight file"),
)

_ZIP = b"PK\x03\x04"
_ONNX = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]")  # the version, then any other field


def _container_of(path: Path, head: bytes) -> Container:
    if head.startswith(_ZIP) or rebuild.LEGACY_TORCH.match(head):
        return "torch"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return "safetensors"
    if _ONNX.match(head):
        return "onnx"
    # Pickles of protocols 0 and 1 have no signature: whatever is left is read as a pickle, which is safe.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return "numpy-pickle" if content.find(b"torch_utils.persistence") < 0 else "nvidia-pickle"


# Readers: each returns the nested values of one container; callers add the file's name to errors.


def _read_safetensors(path: Path) -> Any:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
            return {**tensors, **(file.metadata() or {})}
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"is a damaged .safetensors file ({error}); download it again") from error


def _read_pickle(path: Path) -> Any:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return inert.load(content, rebuild.NAMES)
        except inert.MalformedError as error:
            if content[:1] == b"\x80":
                raise WeightsError(f"is a damaged pickle: it {error}; download it again") from error
            raise UnknownLayout(
                f"starts with {content[:8]!r} and is not a weight file; expected .pt, .pth or .ckpt (PyTorch), "
                ".pkl (NVIDIA), .safetensors or .onnx"
            ) from error


def _read_onnx(path: Path) -> Any:  # noqa: ARG001
    raise UnknownLayout("is an ONNX network, which OpenCV runs; expected a file of tensors")


def _read_torch(path: Path) -> Any:
    with path.open("rb") as file:
        zipped = file.read(len(_ZIP)) == _ZIP
    if zipped:
        _check_archive(path)
    _check_claims(path, zipped)
    try:
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's advice to developers; nothing a user can act on
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except rebuild.TORCH_DAMAGE as error:
        name = _refused_name(path, zipped)
        raise (inert.RefusedError(name) if name else rebuild.refused_by_torch(error)) from error


def _check_claims(path: Path, zipped: bool) -> None:
    """Raises `WeightsError` if PyTorch would allocate more than the file's size."""
    size = path.stat().st_size
    try:
        if zipped:
            rebuild.check_claims(_archived_pickle(path), size)
            return
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            rebuild.check_legacy_claims(content, size)
    except (inert.MalformedError, *ARCHIVE_DAMAGE) as error:
        raise WeightsError(f"is a damaged PyTorch file ({error}); download it again") from error


def _harmless() -> list[Any]:
    """Lists the types allowed in `torch.load` besides tensors: settings, and records of NumPy's numbers."""
    return [argparse.Namespace, inert.Made, *((record, name) for name, record in rebuild.NUMPY.items())]


def _refused_name(path: Path, zipped: bool) -> str | None:
    """Returns the first forbidden name in a file that PyTorch rejected, if there is one.

    PyTorch's message has it for pickle protocol 2 only, and without `builtins`.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for stream in [_archived_pickle(path)] if zipped else [content] * _LEGACY_PICKLES:
                inert.load(stream, rebuild.TORCH_NAMES)
    except inert.RefusedError as refused:
        return refused.name
    except (inert.MalformedError, *ARCHIVE_DAMAGE):
        return None  # damaged, as the caller is about to say
    return None


_LEGACY_PICKLES = 4  # in a row: a number to know the format by, its version, the system's types, the values


def _archived_pickle(path: Path) -> BytesIO:
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if Path(name).name == "data.pkl")
        return BytesIO(archive.read(name))


def _check_archive(path: Path) -> None:
    """Raises `WeightsError` for a zip archive not made by torch.save, or that expands beyond its size."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except ARCHIVE_DAMAGE as error:
        raise WeightsError(f"is a damaged PyTorch file ({error}); download it again") from error
    names = [Path(entry.filename).name for entry in entries]
    if "constants.pkl" in names:
        raise UnknownLayout("is a TorchScript program; expected a file of tensors")
    if names.count("data.pkl") != 1:
        raise UnknownLayout("is a zip archive not made by torch.save; unpack it first")
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)  # as torch.save does
    if not stored or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise WeightsError("is compressed or claims more than it contains, unlike files of torch.save")


_READERS: Mapping[Container, Callable[[Path], Any]] = {
    "torch": _read_torch,
    "nvidia-pickle": _read_pickle,
    "numpy-pickle": _read_pickle,
    "safetensors": _read_safetensors,
    "onnx": _read_onnx,
    "openvino": openvino.read,
}

_REFUSAL_HINTS = (
    (r"(posix|nt)\.system", "that is os.system, which runs a command"),
    (r"dnnlib\.tflib\..*", "a TensorFlow StyleGAN pickle; use NVIDIA's conversion for stylegan2-ada-pytorch"),
    (r"torch\.(nn|jit)\..*|__main__\..*", "a whole program object; save its state_dict instead"),
)


def _refusal(name: str) -> str:
    hint = next((f" ({hint})" for pattern, hint in _REFUSAL_HINTS if re.fullmatch(pattern, name)), "")
    return (
        f"refused: it asks for {name}{hint}. Nothing in it was run. Weight files need only tensors and "
        "settings; get it from its authors, or save its tensors as .safetensors"
    )
