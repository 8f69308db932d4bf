"""Choice of a backend, conversion into the cache, and models whose networks a backend runs."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from command import call_here, smooth_crops
from torch import Tensor, nn

from oodinv import backends
from oodinv.backends import Backend, select
from oodinv.backends.base import Arrays, Graph, Session
from oodinv.backends.compiled import TOLERANCE, check, compile_model
from oodinv.errors import OodinvError
from oodinv.inversion import Inversion, decode, invert
from oodinv.models.generators.base import PhotoNoise
from oodinv.runs import manifest
from oodinv.weights.build import load_named


def deviation(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.std())


def agree(found: Inversion, expected: Inversion) -> None:
    """All results of two inversions are within the tolerance."""
    assert found.alignments.keys() == expected.alignments.keys()
    pairs = [(found.w_plus, expected.w_plus), (found.generated, expected.generated), (found.mask, expected.mask)]
    for key, alignment in expected.alignments.items():
        pairs += [(found.alignments[key].flow, alignment.flow), (found.alignments[key].mask, alignment.mask)]
    assert max(deviation(*pair) for pair in pairs) < TOLERANCE


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A backend from outside the package, in front of the others: it runs ONNX Runtime and counts."""
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    from oodinv.backends import onnx_runtime

    module = ModuleType("counting_backend")
    module.runs = 0  # type: ignore[attr-defined]

    def start(graph: Path, threads: int) -> Session:
        session = onnx_runtime.start(graph, threads)

        def run(arrays: Arrays) -> Arrays:
            module.runs += 1  # type: ignore[attr-defined]
            return session(arrays)

        return run

    module.start = start  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    new = Backend("counting", "counts", module.__name__, ("onnxruntime",), "onnx")
    monkeypatch.setattr(backends, "BACKENDS", (new, *backends.BACKENDS))
    return module


@pytest.mark.slow
def test_a_backend_from_outside_the_package_gives_the_results_of_torch(
    counting: ModuleType, tiny_card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OODINV_CACHE", str(tmp_path))
    said: list[str] = []
    plain = load_named(str(tiny_card))
    backend = select("counting", "cpu", "float32")
    assert backend is not None
    model = compile_model(plain, backend, "fixed", said.append)
    assert (model.backend, plain.backend) == ("counting", "torch")
    assert all(text.startswith("converting a network for counting, once") for text in said)
    assert [text.rpartition("counting-")[2].rpartition("-")[0] for text in said] == ["encoder", "aligned-fixed"]
    torch.manual_seed(0)
    image = nn.functional.interpolate(torch.randn(3, 3, 8, 8), (16, 16), mode="bilinear").clamp(-1, 1)
    before, expected = counting.runs, invert(plain, image)
    agree(invert(model, image), expected)
    assert counting.runs - before == 6, "one run a sample of encoder and generator"
    codes = expected.w_plus + 0.1
    edited = decode(plain, image, codes, expected.alignments)
    agree(decode(model, image, codes, expected.alignments), edited)
    noise = PhotoNoise("fixed", {16: torch.randn(3, 1, 16, 16)})
    single = decode(plain, image, codes, expected.alignments, noise)
    assert deviation(single.generated, edited.generated) > 10 * TOLERANCE
    agree(decode(model, image, codes, expected.alignments, noise), single)
    source = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    noisy = [invert(m, image, noise=noise).generated for m, noise in zip((model, plain), source, strict=True)]
    assert deviation(*noisy) < TOLERANCE, "random noise is left to PyTorch"
    said.clear()
    again = compile_model(plain, backend, "fixed", said.append)
    assert not said, "graphs are converted once"
    agree(invert(again, image), expected)

    (tmp_path / "crops").mkdir()
    crops = smooth_crops(tmp_path / "crops", 2)
    done = call_here("invert", crops, "-o", tmp_path / "out", "--aligned", "--model", tiny_card, "--backend", "auto")
    assert done.returncode == 0, done.stderr
    found = manifest.read(tmp_path / "out")
    assert found is not None
    assert found[0].settings["backend"] == "counting", "auto takes the first that is installed"


def test_auto_is_torch_where_no_backend_is_installed_or_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = Backend("here", "a backend", "none", ("json",), "here")
    absent = Backend("absent", "a backend", "none", ("no_such_package",), "absent")
    monkeypatch.setattr(backends, "BACKENDS", (absent, installed))
    assert select("auto", "cpu", "float32") is installed
    assert select("auto", "cuda", "float32") is None
    assert select("auto", "cpu", "bfloat16") is None
    assert select("torch", "cpu", "float32") is None
    monkeypatch.setattr(backends, "BACKENDS", (absent,))
    assert select("auto", "cpu", "float32") is None


def test_a_missing_backend_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Backend("absent", "Absent", "none", ("no_such_package",), "absent")
    monkeypatch.setattr(backends, "BACKENDS", (absent,))
    with pytest.raises(OodinvError, match=r"Absent needs no_such_package: pip install 'oodinv\[absent\]'"):
        select("absent", "cpu", "float32")


@pytest.mark.parametrize(("device", "dtype"), [("cuda", "float32"), ("cpu", "bfloat16")])
def test_a_backend_is_refused_where_it_can_t_do_what_is_asked_for(device: str, dtype: str) -> None:
    with pytest.raises(OodinvError, match="computes in float32 on the CPU"):
        select("onnxruntime", device, dtype)


def test_an_unknown_backend_is_wrong_usage(tmp_path: Path, tiny_card: Path) -> None:
    (tmp_path / "crops").mkdir()
    crops = smooth_crops(tmp_path / "crops", 1)
    done = call_here("invert", crops, "-o", tmp_path / "out", "--aligned", "--model", tiny_card, "--backend", "onnx-rt")
    assert done.returncode == 2
    assert "no backend is named 'onnx-rt'" in " ".join(done.stderr.split())


class Double(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (2 * x,)


@pytest.mark.parametrize(("factor", "fits"), [(2.0, True), (2.01, False), (np.nan, False)])
def test_results_that_are_not_those_of_torch_are_refused(factor: float, fits: bool) -> None:
    graph = Graph("double", Double(), {"x": torch.randn(50)}, ("y",))

    def session(arrays: Arrays) -> Arrays:
        return [arrays[0] * np.float32(factor)]

    if fits:
        check(graph, session, "it")
        return
    with pytest.raises(OodinvError, match=r"it: y differs from PyTorch's by .* use --backend torch"):
        check(graph, session, "it")
