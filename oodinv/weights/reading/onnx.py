"""The shapes of the tensors in an ONNX file. Their values are not needed here: OpenCV runs such files.

Source: ModelProto, GraphProto and TensorProto of onnx.proto, and the encoding of protocol buffers.
"""

from collections.abc import Iterator

_GRAPH = 7  # in ModelProto
_INITIALIZER = 5  # in GraphProto
_DIMS, _NAME = 1, 8  # in TensorProto

_FIXED = {1: 8, 5: 4}  # bytes of the two fixed-size kinds of field; 0 is a varint, 2 has its length in front


def shapes(model: memoryview) -> dict[str, tuple[int, ...]]:
    """Shape of each initializer of the model's graph, by name.

    Raises:
        ValueError: the bytes are no whole ONNX model.
    """
    graphs = [value for number, value in _fields(model) if number == _GRAPH]
    if len(graphs) != 1:
        raise ValueError("it has no graph")
    return dict(_shape(value) for number, value in _fields(_message(graphs[0])) if number == _INITIALIZER)


def _shape(value: int | memoryview) -> tuple[str, tuple[int, ...]]:
    name, sides = "", list[int]()
    for number, item in _fields(_message(value)):
        if number == _NAME:
            name = bytes(_message(item)).decode()
        elif number == _DIMS:  # one side a field, or all packed into one
            sides.extend([item] if isinstance(item, int) else _varints(item))
    return name, tuple(sides)


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it has a number where a message was expected")
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a protocol-buffer message; the fields fill the message exactly."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if kind == 2:
            size, position = _varint(message, position)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise ValueError(f"it has a field of the unknown kind {kind}")
        if position + size > len(message):
            raise ValueError("it ends too early")
        yield number, message[position : position + size]
        position += size


def _varints(packed: memoryview) -> Iterator[int]:
    position = 0
    while position < len(packed):
        value, position = _varint(packed, position)
        yield value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """The number at `position`, seven bits a byte, lowest first, and the position behind it."""
    value = 0
    for index in range(10):
        if position + index >= len(message):
            raise ValueError("it ends too early")
        byte = message[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("it has a number of more than 64 bits")
