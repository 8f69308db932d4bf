"""Weight files that mean harm: nothing in them is run, and they cost no more than their size."""

import argparse
import copyreg
import io
import os
import pickle
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pickles import PROTOCOLS, write_legacy, write_pickle, write_zip
from safetensors.torch import save_file

from oodinv.errors import OodinvError, UnknownLayout, WeightsError
from oodinv.weights.reading.read import WeightsFile, read


class Touch:
    """Unpickled by the standard library, runs a command that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("write", [write_pickle, write_zip, write_legacy])
def test_a_file_that_asks_for_os_system_is_refused_by_that_name(
    write: Callable[[object, Path, int], None], protocol: int, tmp_path: Path
) -> None:
    if write is not write_pickle and protocol < 2:
        pytest.skip("torch.save writes protocol 2 or later")
    mark = tmp_path / "was run"
    write({"weight": torch.ones(3), "x": Touch(mark)}, tmp_path / "evil", protocol)
    with pytest.raises(WeightsError, match=r"evil: refused.*os\.system"):
        read(tmp_path / "evil")
    assert not mark.exists()


def test_the_pickle_that_must_not_run_would_leave_a_file(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Touch(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"(S'true'\nios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nS'true'\no.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"),
        (pickle.dumps(eval), "builtins.eval"),
        (pickle.dumps(copyreg._reconstructor), "copyreg._reconstructor"),
        (pickle.dumps(torch.load), "torch.serialization.load"),
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "torch._utils._rebuild_tensor_v2.__globals__"),
    ],
)
def test_every_way_to_name_something_is_refused_by_that_name(content: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        read(path)
    assert f"asks for {name}" in str(caught.value)


def test_names_that_are_allowed_can_not_be_altered_by_a_file(tmp_path: Path) -> None:
    path = tmp_path / "poison.pkl"  # BUILD on a class sets its attributes, if pickle carries it out
    path.write_bytes(b"\x80\x02ccollections\nOrderedDict\n}X\x03\x00\x00\x00popNsb.")
    with pytest.raises(UnknownLayout):
        read(path)
    from collections import OrderedDict

    assert callable(OrderedDict.pop)


def test_the_source_inside_an_nvidia_pickle_is_not_run(shared: Path) -> None:
    file = read(shared / "golden/nvlabs_ada_64.pkl")  # its source ends the process if anything executes it
    assert file.container == "nvidia-pickle"
    assert file.tensors["G_ema.synthesis.b4.const"].shape == (64, 4, 4)
    assert file.tensors["G_ema.mapping.w_avg"].shape == (64,)
    assert file.tensors["G_ema.synthesis.b64.torgb.weight"].shape == (3, 16, 1, 1)
    init = file.settings["G_ema.init_kwargs"]
    assert isinstance(init, dict)
    assert init["img_resolution"] == 64
    assert init["mapping_kwargs"] == {"num_layers": 4}


def containers(folder: Path) -> list[Path]:
    small = {"g_ema": {"w": torch.arange(8.0)}, "opts": argparse.Namespace(size=4)}
    write_zip(small, folder / "zip.pt", 2)
    write_legacy(small, folder / "legacy.pt", 2)
    save_file({"w": torch.arange(8.0)}, folder / "x.safetensors")
    write_pickle({"a": np.arange(8.0), "s": np.float32(1)}, folder / "old.ckpt", 3)
    write_pickle({"a": np.arange(8.0), "w": torch.arange(8.0)}, folder / "new.ckpt", 5)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("index", range(5))
def test_a_file_cut_short_anywhere_is_an_error(index: int, tmp_path: Path) -> None:
    path = containers(tmp_path)[index]
    content = path.read_bytes()
    read(path)
    for length in range(0, len(content) - 1, max(1, len(content) // 200)):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError, match=path.name):
            read(path)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return containers(tmp_path_factory.mktemp("samples"))


def read_or_message(path: Path) -> WeightsFile | str:
    """The file, or what the user is told; any other exception fails the test."""
    try:
        return read(path)
    except OodinvError as error:
        return str(error)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_an_altered_file_is_read_or_is_an_error(samples: list[Path], data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(samples)).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = samples[0].parent / "altered"
    path.write_bytes(content)
    outcome = read_or_message(path)
    if isinstance(outcome, str):
        assert str(path) in outcome
    else:
        total = sum(tensor.numel() * tensor.element_size() for tensor in outcome.tensors.values())
        assert total <= 2 * len(content)


@settings(max_examples=300, deadline=None)
@given(
    content=st.binary(min_size=1, max_size=60),
    prefix=st.sampled_from([b"", b"\x80\x04", b"\x80\x02}(", b"(l"]),
)
def test_any_bytes_are_read_or_are_an_error(samples: list[Path], content: bytes, prefix: bytes) -> None:
    path = samples[0].parent / "any"
    path.write_bytes(prefix + content)
    outcome = read_or_message(path)
    assert not isinstance(outcome, str) or str(path) in outcome


def self_reference() -> dict[str, Any]:
    items: list[Any] = []
    items.append(items)
    return {"items": items}


def doubled(times: int) -> dict[str, Any]:
    """2^times values in a few bytes: each list holds the one before twice."""
    value: list[Any] = [1]
    for _ in range(times):
        value = [value, value]
    return {"items": value}


def nested(depth: int) -> bytes:
    return b"\x80\x02}X\x01\x00\x00\x00a" + b"]" * depth + b"a" * (depth - 1) + b"s."


HOSTILE = {
    "self": pickle.dumps(self_reference()),
    "doubled": pickle.dumps(doubled(60)),
    "deep": nested(100_000),
    "long bytes": b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"abc.",
    "long string": b"\x80\x04\x8d" + (1 << 62).to_bytes(8, "little") + b"abc.",
    "endless": b"\x80\x02" + b"N0" * 1_000_001 + b"}.",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_needs_no_more_memory_than_its_size(name: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(HOSTILE[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(OodinvError, match=r"hostile\.pkl"):
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


@pytest.mark.parametrize("claim", [b"r\xff\xff\xff\xff", b"\x95" + (1 << 40).to_bytes(8, "little")])
def test_what_a_memo_index_or_a_frame_claims_costs_nothing(claim: bytes, tmp_path: Path) -> None:
    path = tmp_path / "claim.pkl"  # for the first, pickle would make a table of 64 GiB
    path.write_bytes(b"\x80\x04}" + claim + b".")
    assert read(path).tensors == {}


@pytest.mark.parametrize("shape", [(1 << 40,), (5,), (-4,), (2.0, 2), (True, 4)])
def test_an_array_must_have_the_bytes_its_shape_needs(shape: tuple[Any, ...], tmp_path: Path) -> None:
    class Array:
        def __reduce__(self) -> tuple[Any, ...]:
            make, args, _ = np.zeros(4, "f4").__reduce__()
            return make, args, (1, shape, np.dtype("f4"), False, bytes(16))

    write_pickle({"a": Array()}, tmp_path / "x.ckpt", 3)
    with pytest.raises(WeightsError, match="bytes"):
        read(tmp_path / "x.ckpt")


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    write_pickle({"a": np.array([{}, None], dtype=object)}, tmp_path / "x.ckpt", 3)
    with pytest.raises(WeightsError, match=r"x\.ckpt"):
        read(tmp_path / "x.ckpt")


@pytest.mark.parametrize("write", [write_zip, write_pickle])
def test_a_tensor_with_more_numbers_than_its_file_is_refused(
    write: Callable[[object, Path, int], None], tmp_path: Path
) -> None:
    write({"a": torch.zeros(1).expand(1 << 40)}, tmp_path / "x", 2)
    with pytest.raises(WeightsError, match="numbers"):
        read(tmp_path / "x")


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    stored = io.BytesIO()
    torch.save({"a": torch.zeros(1_000_000)}, stored)
    with zipfile.ZipFile(stored) as old, zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
    with pytest.raises(WeightsError, match="compressed"):
        read(tmp_path / "x")


def test_two_values_for_one_name_are_refused(tmp_path: Path) -> None:
    torch.save({"a": {"b": torch.zeros(1)}, "a.b": torch.ones(1)}, tmp_path / "x")
    with pytest.raises(WeightsError, match=r"two values for a\.b"):
        read(tmp_path / "x")


@pytest.mark.parametrize(
    "content",
    [b"}" + b")" + b"\x85" * 1_000_000 + b"K\x01s.", b"}" + b")" + b"2\x86" * 40 + b"K\x01s."],
    ids=["deep", "wide"],
)
def test_tuples_without_end_as_keys_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(b"\x80\x02" + content)
    with pytest.raises(OodinvError):
        read(path)
