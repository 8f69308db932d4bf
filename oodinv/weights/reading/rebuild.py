"""Builds tensors, numbers, strings, lists and dicts from the records of an interpreted pickle.

The tables list the names that weight files refer to (NVIDIA's networks, PyTorch's tensors, NumPy's arrays). Arrays are
built from bytes, after a check that there are as many as their description says.
"""

import argparse
import io
import math
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import numpy as np
import torch

from oodinv.errors import WeightsError
from oodinv.weights.reading.inert import Made, MalformedError, Name, PickleStream, RefusedError, Table, load, recorder

MAX_DEPTH = 64
MAX_VALUES = 200_000
"""Upper bounds on nesting and on the number of values."""
MAX_NAME = 512
"""Upper bound on the length of a key: one long string in a file could be the key of many values."""
MAX_SIDE = 1 << 48
MAX_SIDES = 64

LEGACY_TORCH = re.compile(rb"\x80[\x02-\x05](\x95.{8})?\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\.", re.DOTALL)
"""First bytes of files of torch.save before PyTorch 1.6: the number 0x1950a86a20f9469cfc6c, pickled."""

_SHARED_BY_CHANCE = 64  # bytes of an array; its pickle takes more than that

_KINDS = {8: "Double Long", 4: "Float Int", 2: "Half BFloat16 Short", 1: "Byte Char Bool"}
_STORAGES = " ".join(_KINDS.values())
_DTYPES = "float16 float32 float64 bfloat16 uint8 int8 int16 int32 int64 bool"


def _encode(text: str, encoding: str) -> bytes:
    """Decodes bytes as pickles of protocol 2 store them."""
    if encoding != "latin1":
        raise MalformedError(f"encodes bytes as {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Decodes empty bytes as they store them."""
    return b""


def _records(*names: str) -> dict[str, Callable[..., Any]]:
    return {name: recorder(name) for name in names}


NUMPY: Table = _records(
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
)
"""NumPy's names, before (`core`) and since (`_core`) version 2."""

NAMES: Table = {
    **NUMPY,
    **_records("torch_utils.persistence._reconstruct_persistent_obj", "torch.storage._load_from_bytes"),
    **_records("torch.device", "torch.Size", "argparse.Namespace"),
    **_records(*(f"torch._utils._rebuild_{what}" for what in ("tensor", "tensor_v2", "parameter"))),
    **_records("torch._utils._rebuild_parameter_with_state"),
    **_records(*(f"torch.{name}" for name in _DTYPES.split())),
    "_codecs.encode": _encode,
    "collections.OrderedDict": dict,
    "dnnlib.util.EasyDict": dict,
    "dnnlib.EasyDict": dict,
    "builtins.bytes": _no_bytes,
    "__builtin__.bytes": _no_bytes,
    "builtins.set": set,
    "__builtin__.set": set,
}
"""Names that a plain pickle may refer to."""

TORCH_NAMES: Table = {**NAMES, **_records(*(f"torch.{kind}Storage" for kind in _STORAGES.split()))}
"""The same, with names that occur only in PyTorch's files."""


def _allocates(*_: Any) -> None:
    """Rejects a call of a class that PyTorch would allocate in any size that the file gives."""
    raise MalformedError("makes tensors without numbers in the file")


CLAIMS: Table = {
    **TORCH_NAMES,
    **{f"torch.{kind}Storage": _allocates for kind in _STORAGES.split()},
    **dict.fromkeys(("torch.Tensor", "torch.nn.parameter.Parameter", "builtins.bytearray"), _allocates),
    **_records("torch._tensor._rebuild_from_type_v2", "builtins.complex", "__builtin__.complex"),
    "collections.Counter": dict,
}
"""Names in a PyTorch file while it is checked, before PyTorch reads it; classes that allocate must not be called."""


def check_claims(pickled: PickleStream, size: int) -> None:
    """Checks that PyTorch allocates no more for a file of `size` bytes than its numbers need.

    pickled: stream at the pickle that precedes the numbers; read to the pickle's end.

    Raises:
        RefusedError: it refers to a name that weight files don't need.
        MalformedError: it claims more bytes than the file has, or is not a complete pickle.
    """
    claimed: dict[Any, int] = {}

    def count(key: Any) -> None:
        match key:
            case ("storage", Name(name), str() as label, _, int() as numbers, *_) if name in _ITEM_BYTES:
                claimed[label] = max(numbers, 0) * _ITEM_BYTES[name]
            case _:
                raise MalformedError("refers to something other than a storage")
        if sum(claimed.values()) > size:
            raise MalformedError(f"claims more than the {size:,} bytes it has")

    load(pickled, CLAIMS, count)


def check_legacy_claims(file: PickleStream, size: int) -> None:
    """The same for files before PyTorch 1.6: a magic number, the version, the system's types, then the values.

    Raises:
        RefusedError, MalformedError: as `check_claims`.
    """
    for _ in range(_LEGACY_PREAMBLE):
        load(file, {})
    check_claims(file, size)


_LEGACY_PREAMBLE = 3
_ITEM_BYTES = {f"torch.{kind}Storage": n for n, kinds in _KINDS.items() for kind in kinds.split()}


class Rebuilder:
    """Converts the values of one file to plain ones, within bounds for the whole file."""

    def __init__(self) -> None:
        self._left = MAX_VALUES
        self._built: dict[int, Any] = {}  # by identity: what is shared in the file is built once
        self._spent: set[int] = set()  # bytes objects, by identity, that an array or storage was made of

    def plain(self, value: Any, depth: int = 0) -> Any:
        """Converts a value to dict, list, tensor, number, string, bytes or None; dict keys become strings.

        Raises:
            WeightsError: it is none of these, or beyond the bounds.
        """
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise WeightsError("nests its values too deeply, or has too many of them, for a weight file")
        match value:
            case None | bool() | int() | float() | complex() | str() | bytes():
                return value
            case torch.Tensor():
                return _sound(value)
            case Mapping():
                return {_key(key): self.plain(item, depth + 1) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self.plain(item, depth + 1) for item in value]
            case argparse.Namespace():
                return self.plain(vars(value), depth + 1)
            case Name():
                return value.name
            case torch.dtype() | torch.device():
                return str(value)
            case Made():
                if id(value) not in self._built:
                    self._built[id(value)] = self._build(value, depth + 1)
                return self._built[id(value)]
        raise WeightsError(f"holds a {type(value).__name__}, which is neither a tensor nor a setting")

    def _build(self, made: Made, depth: int) -> Any:
        match made.name.rpartition(".")[2], made.args, made.state:
            case "_reconstruct_persistent_obj", _, _:
                return self._network(made, depth)
            case "_rebuild_tensor" | "_rebuild_tensor_v2", (Made() as storage, offset, size, stride, *_), _:
                return _strided(self._storage(storage), offset, size, stride)
            case "_rebuild_parameter" | "_rebuild_parameter_with_state", (data, *_), _:
                return self.plain(data, depth)
            case "_reconstruct", _, (_, tuple() as shape, Made() as dtype, fortran, bytes() as raw):
                return torch.from_numpy(_array(self._once(raw), dtype, shape, "F" if fortran else "C"))
            case "_frombuffer", (raw, Made() as dtype, tuple() as shape, "C" | "F" as order), _:
                return torch.from_numpy(_array(self._once(raw), dtype, shape, order))
            case "scalar", (Made() as dtype, bytes() as raw), _:
                return _array(raw, dtype, (), "C").item()
            case "dtype", _, _:
                return _dtype(made).str
            case "device" | "Size", args, _:
                return self.plain(args, depth)
            case "Namespace", _, state:
                return self.plain(state, depth)
        raise WeightsError(f"holds a {made.name} that is incomplete or out of place")

    def _once(self, raw: Any) -> Any:
        """Returns `raw`, and marks it as used: many arrays could claim the same bytes.

        Raises:
            WeightsError: it was used before, and is longer than bytes that pickles share by chance.
        """
        if isinstance(raw, bytes | bytearray) and len(raw) > _SHARED_BY_CHANCE:
            if id(raw) in self._spent:
                raise WeightsError("has several arrays of the same bytes, which no weight file has")
            self._spent.add(id(raw))
        return raw

    def _storage(self, made: Made) -> torch.TypedStorage:
        """Reads a storage of an NVIDIA pickle: a torch.save file of the old kind inside the pickle."""
        if id(made) not in self._built:
            match made.name, made.args:
                case "torch.storage._load_from_bytes", (bytes() as payload,):
                    self._built[id(made)] = _load_storage(self._once(payload))
                case _:
                    raise WeightsError(f"holds a tensor whose numbers are a {made.name}")
        return cast(torch.TypedStorage, self._built[id(made)])

    def _members(self, module: Any, depth: int) -> dict[str, Any]:
        """Returns parameters, buffers, submodules and `conv_clamp` of an NVIDIA object by name.

        The object also contains the source of its class, which unpickling would execute; it is ignored.
        """
        self._left -= 1
        match module:
            case Made(args=({"state": {"_parameters": dict() as own, "_buffers": dict() as buffers} as state},)):
                submodules = state.get("_modules")
            case _:
                raise WeightsError("holds something else where an NVIDIA network was expected")
        if not isinstance(submodules, dict) or depth > MAX_DEPTH or self._left < 0:
            raise WeightsError("holds an NVIDIA network that is incomplete or too deep")
        members = {_key(name): self.plain(item, depth) for name, item in (own | buffers).items()}
        members |= {_key(name): self._members(item, depth + 1) for name, item in submodules.items()}
        members = {name: item for name, item in members.items() if item is not None}
        return members | {name: self.plain(state[name], depth) for name in ("conv_clamp",) if name in state}

    def _network(self, made: Made, depth: int) -> dict[str, Any]:
        """Reads a network of an NVIDIA pickle: its members, its class name and its constructor arguments."""
        members = self._members(made, depth)
        (meta,) = made.args
        settings = {"class_name": meta.get("class_name")}
        settings |= {name: meta["state"].get(f"_{name}") for name in ("init_args", "init_kwargs")}
        return members | {name: self.plain(item, depth) for name, item in settings.items()}


def _load_storage(payload: bytes) -> torch.TypedStorage:
    if not LEGACY_TORCH.match(payload):
        raise WeightsError("holds a tensor whose numbers are in no form that torch.save writes")
    check_legacy_claims(io.BytesIO(payload), len(payload))
    try:
        storage = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except TORCH_DAMAGE as error:
        raise refused_by_torch(error) from error
    if not isinstance(storage, torch.TypedStorage):
        raise WeightsError(f"holds a tensor whose numbers are a {type(storage).__name__}")
    return storage


TORCH_DAMAGE = (
    RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError, OverflowError,
    MemoryError, struct.error, pickle.UnpicklingError,
)  # fmt: skip
"""Raised by `torch.load` for truncated or altered files."""


def refused_by_torch(error: BaseException) -> WeightsError:
    """Converts an exception of `torch.load`: to a refusal if it names something, otherwise to an error about damage."""
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    if named:
        return RefusedError(named[1])
    if re.search(r"Unsupported operand", str(error)):
        return WeightsError("was pickled by a protocol that PyTorch can't read safely; save it with the default one")
    reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
    return WeightsError(f"is a damaged PyTorch file ({reason}); download it again")


def _key(key: Any) -> str:
    if isinstance(key, int) and key.bit_length() > MAX_NAME:  # Python refuses to spell the largest
        raise WeightsError("has a number of absurd length as a key, where a string was expected")
    if not isinstance(key, str | int | float | None):
        raise WeightsError(f"has a {type(key).__name__} as a key, where a string was expected")
    name = str(key)
    if len(name) > MAX_NAME:
        raise WeightsError(f"has a key of {len(name):,} characters, where a name was expected")
    return name


def _sound(tensor: torch.Tensor) -> torch.Tensor:
    """Detaches a tensor. Raises `WeightsError` if it claims more numbers than the file has."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise WeightsError("holds a sparse, quantised or empty-shell tensor; plain ones were expected")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise WeightsError(f"holds a tensor of shape {tuple(tensor.shape)} with fewer numbers than that")
    return tensor.detach()


def _strided(storage: torch.TypedStorage, offset: Any, size: Any, stride: Any) -> torch.Tensor:
    flat = torch.empty(0, dtype=storage.dtype).set_(storage)
    if not (_is_shape(size) and _is_shape(stride) and _is_shape((offset,))):
        raise WeightsError("has a tensor with an invalid size, stride or offset")
    try:
        return _sound(flat.as_strided(size, stride, offset))
    except (RuntimeError, TypeError) as error:
        raise WeightsError(f"holds a tensor of size {size} beyond its {len(flat)} numbers") from error


def _is_shape(value: Any) -> bool:
    """Returns True for a short tuple of integers of reasonable size; integers in pickles can have megabytes."""
    if not isinstance(value, tuple) or len(value) > MAX_SIDES:
        return False
    return all(type(side) is int and 0 <= side <= MAX_SIDE for side in value)


_NUMBERS = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])|bool")


def _dtype(made: Made) -> np.dtype[Any]:
    """Returns the dtype of plain numbers from its pickled description: a code, and a state with the byte order."""
    match made.name, made.args, made.state:
        case "numpy.dtype", (str() as code, *_), (_, "<" | ">" | "|" | "=" as order, *_):
            if _NUMBERS.fullmatch(code):
                return np.dtype(code).newbyteorder(order)
    raise WeightsError("holds a NumPy array of something other than numbers")


def _array(raw: Any, dtype: Made, shape: tuple[Any, ...], order: Literal["C", "F"]) -> np.ndarray[Any, Any]:
    """Builds a writable array in native byte order. Raises `WeightsError` if the number of bytes is wrong."""
    kind = _dtype(dtype)
    if not _is_shape(shape):
        raise WeightsError("has an array whose shape doesn't match its bytes")
    if not isinstance(raw, bytes | bytearray) or math.prod(shape) * kind.itemsize != len(raw):
        raise WeightsError(f"holds an array of shape {shape} with more or fewer bytes than that needs")
    return np.frombuffer(raw, kind).astype(kind.newbyteorder("=")).reshape(shape, order=order)
