"""Weight files that mean harm: read or refused, in bounded memory."""

import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from altered import altered, fuzz
from fuzz import saved_array
from hypothesis import given

from oodinv.errors import OodinvError, WeightsError
from oodinv.weights.reading.average import read_average
from oodinv.weights.reading.read import read


@fuzz
@given(altered([saved_array(np.zeros(16, np.float32)), saved_array(np.zeros((2, 8), np.float32))]))
def test_any_bytes_are_an_average_or_a_weights_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.npy"
    path.write_bytes(content)
    try:
        assert read_average(path).ndim in (1, 2)
    except WeightsError as error:
        assert "odd.npy" in str(error)  # noqa: PT017


@pytest.mark.parametrize(("old", "new"), [(b"{'descr'", b"[{'descr'"), (b"{'descr'", b" \n  1\n {")])
def test_a_header_that_is_no_python_is_a_weights_error(old: bytes, new: bytes, tmp_path: Path) -> None:
    """Found by the test above: NumPy lets the errors of Python's tokenizer through."""
    (tmp_path / "x.npy").write_bytes(saved_array(np.zeros(16, np.float32)).replace(old, new.ljust(len(old))))
    with pytest.raises(WeightsError, match=r"x\.npy"):
        read_average(tmp_path / "x.npy")


def test_an_average_that_claims_more_than_its_file_has_costs_nothing(tmp_path: Path) -> None:
    content = saved_array(np.zeros(16, np.float32))
    (tmp_path / "x.npy").write_bytes(content.replace(b"(16,), }" + b" " * 12, b"(16000000000000,), }"))
    assert b"(16000000000000,)" in (tmp_path / "x.npy").read_bytes()
    with pytest.raises(WeightsError, match=r"x\.npy"):
        read_average(tmp_path / "x.npy")


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def put(index: int) -> bytes:
    return b"r" + index.to_bytes(4, "little")


def get(index: int) -> bytes:
    return b"j" + index.to_bytes(4, "little")


def encoded_again_and_again() -> bytes:
    """One string of 100 kB, made bytes 5,000 times."""
    start = b"c_codecs\nencode\n" + put(0) + b"0" + text("x" * 100_000) + text("latin1") + b"\x86" + put(1) + b"0"
    return b"\x80\x02" + start + b"]" + b"(" + (get(0) + get(1) + b"R") * 5_000 + b"e."


def copied_again_and_again() -> bytes:
    """A dict of 3,000 entries, copied 5,000 times."""
    entries = b"}(" + b"".join(b"M" + n.to_bytes(2, "little") + b"N" for n in range(3_000)) + b"u\x85" + put(1) + b"0"
    start = b"ccollections\nOrderedDict\n" + put(0) + b"0" + entries
    return b"\x80\x02" + start + b"](" + (get(0) + get(1) + b"R") * 5_000 + b"e."


def claimed_again_and_again() -> bytes:
    """1 MB of numbers that 500 arrays claim."""
    raw = bytes(1_000_000)
    dtype = (
        b"cnumpy\ndtype\n" + text("f4") + b"\x85R(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    names = b"cnumpy.core.numeric\n_frombuffer\n" + put(0) + b"0" + dtype + put(1) + b"0"
    names += b"B" + len(raw).to_bytes(4, "little") + raw + put(2) + b"0" + b"M\x90\xd0K\x05\x86" + put(3) + b"0"
    array = get(0) + b"(" + get(2) + get(1) + get(3) + text("C") + b"tR"
    return b"\x80\x03" + names + b"}(" + b"".join(b"M" + n.to_bytes(2, "little") + array for n in range(500)) + b"u."


def long_names() -> bytes:
    """A name of 1 MB for each of 300 dicts in one another."""
    return b"\x80\x02" + text("n" * 1_000_000) + put(0) + b"0" + b"}" + (get(0) + b"}") * 60 + b"s" * 60 + b"."


AMPLIFIERS: list[Callable[[], bytes]] = [
    encoded_again_and_again,
    copied_again_and_again,
    claimed_again_and_again,
    long_names,
]


@pytest.mark.parametrize("make", AMPLIFIERS, ids=lambda make: make.__name__)
def test_what_a_pickle_asks_for_again_and_again_is_bounded(make: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(make())
    size = path.stat().st_size
    tracemalloc.start()
    try:
        with pytest.raises(OodinvError, match=r"hostile\.pkl"):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * size + (4 << 20)


HUGE = 1 << 20_000
"""More digits than Python spells."""


@pytest.mark.parametrize("value", [{HUGE: 1}, {"a": {HUGE: {"b": HUGE}}}], ids=["key", "inner"])
def test_a_number_that_can_not_be_spelled_is_no_key(value: object, tmp_path: Path) -> None:
    (tmp_path / "huge.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(WeightsError, match=r"huge\.pkl.*absurd"):
        read(tmp_path / "huge.pkl")


def test_a_shape_of_huge_numbers_is_refused_at_once(tmp_path: Path) -> None:
    class Array:
        def __reduce__(self) -> tuple[object, ...]:
            make, args, _ = np.zeros(4, "f4").__reduce__()
            return make, args, (1, (HUGE,) * 50_000, np.dtype("f4"), False, bytes(16))

    (tmp_path / "huge.pkl").write_bytes(pickle.dumps({"a": Array()}, 3))
    with pytest.raises(WeightsError, match=r"huge\.pkl.*shape"):
        read(tmp_path / "huge.pkl")


def test_honest_pickles_stay_far_below_the_bounds(tmp_path: Path) -> None:
    """Many small arrays in the oldest spelling of bytes, and many dicts, as in a network's pickle."""
    arrays = {f"layer{n}.{part}": np.arange(n % 5 + 1, dtype="f4") for n in range(2_000) for part in ("w", "b")}
    value = {"arrays": arrays, "settings": {f"module{n}": {"hooks": {}, "more": {}} for n in range(2_000)}}
    for protocol in (0, 2, 4):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(value, protocol))
        found = read(tmp_path / "x.pkl")
        assert len(found.tensors) == 4_000


def legacy(values: bytes) -> bytes:
    """A file as torch.save wrote it before PyTorch 1.6, with these values and no numbers."""
    preamble = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    return b"".join(pickle.dumps(item, protocol=2) for item in preamble) + values + pickle.dumps([], protocol=2)


def calls(name: str, number: int) -> bytes:
    """A pickle of {"a": name(number)}."""
    module, _, attribute = name.rpartition(".")
    called = f"c{module}\n{attribute}\n(I{number}\ntR".encode()
    return b"\x80\x02}X\x01\0\0\0a" + called + b"s."


def refers(*numbers: int) -> bytes:
    """A pickle of references to so many storages, each of so many float32 numbers."""
    one = b"".join(
        f"(Vstorage\nctorch\nFloatStorage\nV{key}\nVcpu\nI{count}\nNtQ".encode() for key, count in enumerate(numbers)
    )
    return b"\x80\x02](" + one + b"e."


@pytest.mark.parametrize("load", [read, read_average])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        refers(1 << 34),
        refers(*[100] * 50),
        calls("torch.FloatStorage", 1 << 34),
        calls("torch.Tensor", 1 << 34),
        calls("builtins.bytearray", 1 << 34),
        calls("torch._utils._rebuild_qtensor", 1 << 34),
        calls("torch.UntypedStorage", 1 << 34),
    ],
    ids=["storage", "storages", "call", "tensor", "bytes", "quantised", "untyped"],
)
def test_a_pytorch_file_that_asks_for_more_than_it_has_is_never_loaded(
    values: bytes, zipped: bool, load: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.pt"
    path.write_bytes(legacy(values))
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("small/data.pkl", values)
            archive.writestr("small/version", "3\n")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(WeightsError, match=r"damaged|refused"):
        load(path)


@pytest.mark.parametrize("old", [False, True])
def test_an_honest_pytorch_file_of_shared_storages_is_read(old: bool, tmp_path: Path) -> None:
    flat = torch.arange(12.0)
    values = {"a": flat, "b": flat[3:9].reshape(2, 3), "p": torch.nn.Parameter(flat[:2]), "n": 7}
    torch.save(values, tmp_path / "honest.pt", _use_new_zipfile_serialization=not old)
    found = read(tmp_path / "honest.pt")
    assert torch.equal(found.tensors["b"], flat[3:9].reshape(2, 3))
    assert torch.equal(found.tensors["p"], flat[:2])
    assert found.settings == {"n": 7}
