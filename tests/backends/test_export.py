"""Exported files give what PyTorch gives, and their description fits them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command import call_here

from oodinv import backends
from oodinv.backends import Backend, export
from oodinv.backends.compiled import TOLERANCE
from oodinv.inversion import invert
from oodinv.weights.build import load_named


@pytest.fixture(scope="module")
def exported(tiny_card: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `oodinv export` wrote, for two samples at once."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra onnx")
    folder = tmp_path_factory.mktemp("exported")
    done = call_here("export", "--model", tiny_card, "-o", folder, "--batch-size", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)["files"]) == sorted(file.name for file in folder.iterdir())
    return folder


def run(folder: Path, name: str, inputs: dict[str, np.ndarray], module: str) -> dict[str, np.ndarray]:
    """Runs one graph by its description."""
    graph = next(g for g in json.loads((folder / export.DESCRIPTION).read_text())["graphs"] if g["name"] == name)
    assert {key: list(value.shape) for key, value in inputs.items()} == graph["inputs"]
    choice = next(backend for backend in backends.BACKENDS if backend.name == module)
    session = choice.load().start(folder / graph["files"][0], 1)
    found = dict(zip(graph["outputs"], session([inputs[key] for key in graph["inputs"]]), strict=True))
    assert {key: list(value.shape) for key, value in found.items()} == graph["outputs"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("module", ["onnxruntime", "openvino"])
def test_exported_files_give_the_results_of_torch(exported: Path, tiny_card: Path, module: str) -> None:
    pytest.importorskip(module, reason=f"needs the package {module}")
    torch.manual_seed(1)
    image = torch.nn.functional.interpolate(torch.randn(2, 3, 8, 8), (16, 16), mode="bilinear").clamp(-1, 1)
    expected = invert(load_named(str(tiny_card)), image)
    whole = run(exported, "pipeline", {"image": image.numpy()}, module)
    stages = run(exported, "encoder", {"image": image.numpy()}, module)
    aligned = run(exported, "generator-samm", stages, module)
    plain = run(exported, "generator", {"w_plus": stages["w_plus"]}, module)
    assert np.abs(plain["generated"] - aligned["generated"]).max() > TOLERANCE, "SAMM changes pictures"
    for found, key, theirs in [
        (whole["w_plus"], "w_plus", expected.w_plus),
        (whole["composite"], "composite", expected.composite),
        (whole["mask"], "mask", expected.mask),
        (whole["generated"], "generated", expected.generated),
        (aligned["generated"], "generated", expected.generated),
        (aligned["flow_16"], "flow_16", expected.alignments[16].flow),
        (aligned["mask_8"], "mask_8", expected.alignments[8].mask),
    ]:
        assert np.abs(found - theirs.numpy()).max() < TOLERANCE * float(theirs.std()), key


@pytest.mark.slow
def test_openvino_files_are_checked_and_described(
    exported: Path, tiny_card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="needs the extra openvino")
    graphs = list(export.graphs_of(load_named(str(tiny_card)), "fixed", 2))
    monkeypatch.setattr(export, "graphs_of", lambda *_: iter(graphs[1:2]))
    converted = exported / "generator.onnx"  # the same graph, so that it isn't converted twice
    monkeypatch.setattr(export, "write_onnx", lambda _, path: shutil.copy(converted, path))
    done = call_here("export", "--model", tiny_card, "--format", "openvino", "--batch-size", "2", "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"generator.xml", "generator.bin", export.DESCRIPTION}
    codes = graphs[1].inputs["w_plus"].numpy()
    theirs = run(exported, "generator", {"w_plus": codes}, "onnxruntime")["generated"]
    ours = run(tmp_path, "generator", {"w_plus": codes}, "openvino")["generated"]
    assert np.abs(ours - theirs).max() < TOLERANCE * theirs.std()


def test_export_says_which_extra_it_needs(tiny_card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = Backend("openvino", "OpenVINO", "none", ("no_such_package",), "openvino")
    monkeypatch.setattr(export, "BACKENDS", (absent,))
    done = call_here("export", "--model", tiny_card, "--format", "openvino", "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "OpenVINO needs no_such_package: pip install 'oodinv[openvino]'" in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()
