"""Reading weight files: every container round-trips, and nothing in a file is run, whatever it asks for."""

import argparse
import copyreg
import io
import os
import pickle
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tolerances import FLOAT32_DEEP

from oodinv.errors import MissingWeights, OodinvError, UnknownLayout, WeightsError
from oodinv.weights.checksum import sha256_file
from oodinv.weights.reading.read import WeightsFile, container_of, read

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Touch:
    """Unpickled by the standard library, runs a command that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def write_pickle(value: object, path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps(value, protocol))


def write_zip(value: object, path: Path, protocol: int) -> None:
    torch.save(value, path, pickle_protocol=protocol)


def write_legacy(value: object, path: Path, protocol: int) -> None:
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)


# Nothing runs


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


def test_the_nvidia_mapping_network_gives_the_golden_w(shared: Path) -> None:
    tensors = read(shared / "golden/nvlabs_ada_64.pkl").tensors
    golden = np.load(shared / "golden/nvlabs_ada_64.npz")
    x = torch.from_numpy(golden["z"])
    x = x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()
    for layer in range(4):  # a fully connected layer with learning-rate multiplier 0.01, leaky ReLU · √2
        weight = tensors[f"G_ema.mapping.fc{layer}.weight"] * 0.01 / x.shape[1] ** 0.5
        bias = tensors[f"G_ema.mapping.fc{layer}.bias"] * 0.01
        x = torch.nn.functional.leaky_relu(x @ weight.T + bias, 0.2) * 2**0.5
    w = torch.from_numpy(golden["w"]).reshape(len(x), -1, x.shape[1])
    for layer in range(w.shape[1]):
        torch.testing.assert_close(w[:, layer], x, rtol=FLOAT32_DEEP, atol=FLOAT32_DEEP * float(w.std()))


def test_a_tensorflow_pickle_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "stylegan2-ffhq-config-f.pkl"
    path.write_bytes(b"\x80\x03cdnnlib.tflib.network\nNetwork\n)\x81}b.")
    with pytest.raises(WeightsError, match=r"TensorFlow.*stylegan2-ada-pytorch"):
        read(path)


# Every container


def tree() -> dict[str, Any]:
    return {
        "state_dict": {"encoder.weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(7)},
        "latent_avg": torch.linspace(-1, 1, 4, dtype=torch.float64),
        "parameter": torch.nn.Parameter(torch.ones(2, dtype=torch.float16)),
        "pyramid": [torch.zeros(1), {"bias": torch.full((2, 2), 3.0)}],
        "view": torch.arange(12).reshape(3, 4).T[1:, ::2],
        "opts": argparse.Namespace(size=1024, betas=[0.9, 0.99], nested={"name": None}),
        "score": np.float32(0.5),
        "array": np.arange(3, dtype=np.int16),
    }


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_pytorch_files_round_trip(write: Callable[[object, Path, int], None], tmp_path: Path) -> None:
    write(tree(), tmp_path / "any name", 2)
    file = read(tmp_path / "any name")
    assert file.container == "torch"
    expected = tree()
    assert set(file.tensors) == {
        "state_dict.encoder.weight", "state_dict.steps", "latent_avg", "parameter", "pyramid.0",
        "pyramid.1.bias", "view", "array",
    }  # fmt: skip
    torch.testing.assert_close(file.tensors["state_dict.encoder.weight"], expected["state_dict"]["encoder.weight"])
    torch.testing.assert_close(file.tensors["latent_avg"], expected["latent_avg"])
    torch.testing.assert_close(file.tensors["pyramid.1.bias"], expected["pyramid"][1]["bias"])
    torch.testing.assert_close(file.tensors["view"], expected["view"])
    torch.testing.assert_close(file.tensors["array"], torch.arange(3, dtype=torch.int16))
    assert not file.tensors["parameter"].requires_grad
    assert file.settings == {
        "opts": {"size": 1024, "betas": [0.9, 0.99], "nested": {"name": None}},
        "score": 0.5,
    }


def test_safetensors_round_trip(tmp_path: Path) -> None:
    weight = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    save_file({"a.weight": weight}, tmp_path / "x", metadata={"format": "oodinv", "kind": "samm"})
    file = read(tmp_path / "x")
    assert file.container == "safetensors"
    torch.testing.assert_close(file.tensors, {"a.weight": weight}, rtol=0, atol=0)
    assert file.settings == {"format": "oodinv", "kind": "samm"}


ARRAYS = {
    "float32": np.linspace(0, 1, 6, dtype="f4").reshape(1, 2, 3),
    "big endian": np.arange(4, dtype=">f8"),
    "fortran": np.asfortranarray(np.arange(6, dtype="i8").reshape(2, 3)),
    "flags": np.array([True, False]),
    "half": np.array([1, 2], "f2"),
    "empty": np.zeros((0, 3), "f4"),
    "scalar": np.array(3.5),
}


@pytest.mark.parametrize("spelling", [b"core", b"_core"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_pickles_round_trip(protocol: int, spelling: bytes, tmp_path: Path) -> None:
    content = pickle.dumps({"layer": ARRAYS, "number": np.int64(-5), "none": None}, protocol)
    if spelling == b"core":
        if protocol >= 4:
            pytest.skip("NumPy 1 had another name's length in front, which a replacement can't keep")
        content = content.replace(b"numpy._core.", b"numpy.core.")
    (tmp_path / "x.ckpt").write_bytes(content)
    file = read(tmp_path / "x.ckpt")
    assert file.container == "numpy-pickle"
    assert file.settings == {"number": -5, "none": None}
    assert set(file.tensors) == {f"layer.{name}" for name in ARRAYS}
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(file.tensors[f"layer.{name}"].numpy(), array)


def test_a_pickle_of_tensors_round_trips(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    write_pickle({"w": weight, "t": weight.T, "p": torch.nn.Parameter(weight)}, tmp_path / "x.pkl", 4)
    file = read(tmp_path / "x.pkl")
    torch.testing.assert_close(file.tensors, {"w": weight, "t": weight.T, "p": weight})


def test_sha256_is_that_of_hashlib(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# What is no weight file


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        (b"", WeightsError, "empty"),
        (b"<!DOCTYPE html><html>quota exceeded", UnknownLayout, "web page"),
        (b"\n  <html>", UnknownLayout, "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", UnknownLayout, "Git LFS pointer"),
        (b"hello world, this is text", UnknownLayout, "not a weight file"),
        (b"could not find\nthe file\n", UnknownLayout, "not a weight file"),
        (b'{"error": "not found"}', UnknownLayout, "not a weight file"),
        (b"\x89PNG\r\n\x1a\n", UnknownLayout, "picture"),
        (b"\x1f\x8b\x08", UnknownLayout, "gzip"),
        (b"\x80\x04K\x01.", UnknownLayout, "contains one int"),
        (b"\x80\x04]q\x00", WeightsError, "damaged"),
        (b"PK\x03\x04 and no more", WeightsError, "damaged"),
        (b"\x08\x06\x12\x7fshort", UnknownLayout, "an ONNX network"),
    ],
)
def test_other_files_are_named_for_what_they_are(
    content: bytes, error: type[WeightsError], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(error, match=rf"weights\.pt: .*{reason}"):
        read(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"no such file.*weights list"):
        read(tmp_path / "nowhere.pt")
    with pytest.raises(WeightsError, match="folder"):
        read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"x")
    (tmp_path / "x.pt").chmod(0)
    with pytest.raises(WeightsError, match="permissions"):
        read(tmp_path / "x.pt")


def test_other_archives_are_recognised(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Identity()), tmp_path / "script.pt")
    with pytest.raises(UnknownLayout, match="TorchScript"):
        read(tmp_path / "script.pt")
    with zipfile.ZipFile(tmp_path / "photos.pt", "w") as archive:
        archive.writestr("photo.png", b"")
    with pytest.raises(UnknownLayout, match="zip archive"):
        read(tmp_path / "photos.pt")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pt")
    with pytest.raises(WeightsError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict"):
        read(tmp_path / "module.pt")


# Damage and hostility


def containers(folder: Path) -> list[Path]:
    small = {"g_ema": {"w": torch.arange(8.0)}, "opts": argparse.Namespace(size=4)}
    write_zip(small, folder / "zip.pt", 2)
    write_legacy(small, folder / "legacy.pt", 2)
    save_file({"w": torch.arange(8.0)}, folder / "x.safetensors")
    write_pickle({"a": np.arange(8.0), "s": np.float32(1)}, folder / "old.ckpt", 3)
    write_pickle({"a": np.arange(8.0), "w": torch.arange(8.0)}, folder / "new.ckpt", 5)
    return sorted(folder.iterdir())


# ModelProto: ir_version 6; graph (field 7): initializer (field 5): dims 2, 3 packed; data_type 1; name "w"
ONNX = b"\x08\x06\x3a\x0b\x2a\x09\x0a\x02\x02\x03\x10\x01\x42\x01w"


def test_an_onnx_network_is_recognised_and_holds_no_tensors_for_us(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(ONNX)
    assert container_of(tmp_path / "x") == "onnx"
    with pytest.raises(UnknownLayout, match=r"x: is an ONNX network"):
        read(tmp_path / "x")


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


def test_reading_a_large_archive_maps_it(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(64 << 20, dtype=torch.uint8)}, tmp_path / "x.pt")
    code = (
        "import resource, sys, pathlib; from oodinv.weights.reading.read import read;"
        "rss = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = rss();"
        "file = read(pathlib.Path(sys.argv[1])); print(rss() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.pt")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 32 << 10  # KiB


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
