"""An interpreter of pickles that produces data only.

`pickle` imports and calls whatever a file names. This interpreter executes the instructions of a pickle, decoded by
`pickletools`, but resolves names only in a table given by the caller, and rejects all others. Nothing is imported and
no other object is constructed. Memory stays within a small multiple of the file's size, whatever sizes the file claims.

Source: the instruction set as documented in CPython's `pickletools`.
"""

import pickletools
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Protocol, cast

from oodinv.errors import WeightsError

MAX_INSTRUCTIONS = 2_000_000
"""Upper bound, far above any weight file (NVIDIA's 1024 px pickles have about 30,000)."""

MAX_GROWTH = 16
SLACK = 1 << 20
"""Bytes that calls and empty containers may take: at most MAX_GROWTH times the bytes read so far, plus SLACK. Ordinary
files stay below a quarter of it."""


class PickleStream(Protocol):
    """Input of the interpreter, such as a `BytesIO` or an `mmap`."""

    def read(self, size: int, /) -> bytes: ...
    def readline(self) -> bytes: ...
    def tell(self) -> int: ...


class RefusedError(WeightsError):
    """A pickle refers to a name outside the table; name: as in the pickle."""

    def __init__(self, name: str) -> None:
        super().__init__(f"asks for {name}")
        self.name = name


class MalformedError(WeightsError):
    """The bytes are not a complete pickle, or use instructions that weight files don't need."""


@dataclass
class Made:
    """Record of a call: the name, its arguments, and the state that the pickle sets afterwards.

    Mutable, because pickles construct objects before they fill them.
    """

    name: str
    args: tuple[Any, ...]
    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle refers to, by its name; it is never imported."""

    name: str


@dataclass(frozen=True)
class Persistent:
    """A reference to data outside the pickle, such as a storage of a PyTorch archive."""

    key: Any


Table = Mapping[str, Callable[..., Any]]
"""Allowed names, each with a function that is called with the pickle's arguments."""


def recorder(name: str) -> Callable[..., Made]:
    """Returns a function for `name` that records its arguments."""

    def record(*args: Any) -> Made:
        return Made(name, args)

    return record


_MARK = object()
_DOTTED = re.compile(r"\w+(\.\w+)+")


@dataclass
class _Machine:
    table: Table
    referred: Callable[[Any], None]
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    made: int = 0

    def within(self, consumed: int) -> None:
        """Raises `MalformedError` if the objects exceed the memory bound for the bytes read."""
        if self.made > MAX_GROWTH * consumed + SLACK:
            raise MalformedError(f"unfolds to more than {MAX_GROWTH} times its size")

    def counted(self, value: Any) -> Any:
        """Adds a value's own size to the memory count and returns the value."""
        self.made += sys.getsizeof(value)
        return value

    def allowed(self, module: Any, name: Any) -> Name:
        name = f"{_expect(module, str)}.{_expect(name, str)}"
        if not _DOTTED.fullmatch(name):
            raise MalformedError("refers to something that is not a name")
        if name not in self.table:
            raise RefusedError(name)
        return Name(name)

    def above_mark(self) -> list[Any]:
        """Removes and returns everything above the topmost mark, and removes the mark."""
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def call(self, callee: Any, args: Any) -> Any:
        if not isinstance(callee, Name) or not isinstance(args, tuple):
            raise MalformedError("calls something that is not a name")
        return self.counted(self.table[callee.name](*args))

    def step(self, opcode: str, arg: Any) -> None:
        """Executes one instruction."""
        stack = self.stack
        if opcode in _PUSHES_ARGUMENT:
            stack.append(arg)
            return
        if opcode in _PUSHES:
            stack.append(self.counted(_PUSHES[opcode]()))
            return
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_MARK)
            case "POP":
                stack.pop()
            case "POP_MARK":
                self.above_mark()
            case "DUP":
                stack.append(stack[-1])
            case "TUPLE" | "LIST" | "DICT" | "FROZENSET":
                stack.append(_GATHERED[opcode](self.above_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case _:
                self.step_with_references(opcode, arg)

    def step_with_references(self, opcode: str, arg: Any) -> None:
        """Executes instructions that fill containers, use the memo, refer to names or call them."""
        stack = self.stack
        match opcode:
            case "APPEND" | "APPENDS":
                items = self.above_mark() if opcode == "APPENDS" else [stack.pop()]
                _expect(stack[-1], list).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self.above_mark() if opcode == "SETITEMS" else [stack.pop(-2), stack.pop()]
                _expect(stack[-1], dict).update(_pairs(items))
            case "ADDITEMS":
                items = self.above_mark()
                _expect(stack[-1], set).update(map(_flat, items))
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[arg] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[arg])
            case "GLOBAL" | "INST":
                name = self.allowed(*arg.rsplit(" ", 1))  # pickletools joins module and name by a space
                stack.append(name if opcode == "GLOBAL" else self.call(name, tuple(self.above_mark())))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(self.allowed(module, name))
            case "REDUCE" | "NEWOBJ":
                args, callee = stack.pop(), stack.pop()
                stack.append(self.call(callee, args))
            case "BUILD":
                state, target = stack.pop(), stack[-1]
                if isinstance(target, Made):
                    target.__setstate__(state)
            case "PERSID" | "BINPERSID":
                key = arg if opcode == "PERSID" else stack.pop()
                self.referred(key)
                stack.append(Persistent(key))
            case _:
                raise MalformedError(f"uses {opcode}, which no weight file needs")


_PUSHES_ARGUMENT = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
})  # fmt: skip
_PUSHES: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}


def _pairs(items: list[Any]) -> dict[Any, Any]:
    """Builds a dict from alternating keys and values."""
    return dict(zip(map(_flat, items[::2]), items[1::2], strict=True))


def _flat(value: Any) -> Any:
    """Checks that a key can be hashed quickly; tuples in pickles can be nested arbitrarily."""
    if value is not None and not isinstance(value, str | bytes | int | float):
        raise MalformedError(f"has a {type(value).__name__} as a key, where text or a number was expected")
    return value


_GATHERED: Mapping[str, Callable[[list[Any]], Any]] = {
    "TUPLE": tuple,
    "LIST": list,
    "DICT": _pairs,
    "FROZENSET": lambda items: frozenset(map(_flat, items)),
}


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise MalformedError(f"needs a {kind.__name__} where a {type(value).__name__} is")
    return value


def _accept(_: Any) -> None:
    """Accepts every reference."""


def load(stream: PickleStream, table: Table, referred: Callable[[Any], None] = _accept) -> Any:
    """Reads the pickle at the stream's position, and moves the stream to its end.

    table: the dotted names that the pickle may refer to. referred: called with each reference to data outside the
    pickle; may raise `MalformedError`.

    Raises:
        RefusedError: it refers to another name.
        MalformedError: the bytes are not a complete pickle.
    """
    machine = _Machine(table, referred)
    start = stream.tell()
    try:
        for count, (opcode, arg, position) in enumerate(pickletools.genops(cast(IO[bytes], stream))):
            if opcode.name == "STOP":
                return machine.stack.pop()
            if count >= MAX_INSTRUCTIONS:
                raise MalformedError(f"has more than {MAX_INSTRUCTIONS:,} instructions")
            machine.step(opcode.name, arg)
            machine.within((position or 0) - start)
    # Exceptions of pickletools for invalid pickles, and of operations with wrong operands.
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise MalformedError(f"can't be followed ({error})") from error
    raise MalformedError("ends too early")
