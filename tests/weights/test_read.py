"""Reading weight files: every container round-trips, and other files are named for what they are."""

import argparse
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pickles import PROTOCOLS, write_legacy, write_pickle, write_zip
from safetensors.torch import save_file
from tolerances import FLOAT32_DEEP

from oodinv.errors import MissingWeights, UnknownLayout, WeightsError
from oodinv.weights.checksum import sha256_file
from oodinv.weights.reading.read import container_of, read


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


# ModelProto: ir_version 6; graph (field 7): initializer (field 5): dims 2, 3 packed; data_type 1; name "w"
ONNX = b"\x08\x06\x3a\x0b\x2a\x09\x0a\x02\x02\x03\x10\x01\x42\x01w"


def test_an_onnx_network_is_recognised_and_holds_no_tensors_for_us(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(ONNX)
    assert container_of(tmp_path / "x") == "onnx"
    with pytest.raises(UnknownLayout, match=r"x: is an ONNX network"):
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
