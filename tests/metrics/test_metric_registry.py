"""A metric from outside the package: one declaration, listed once, and the benchmark measures and explains it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command import smooth_crops
from numpy.typing import NDArray
from torch import Tensor
from typer.testing import CliRunner

from oodinv import metrics
from oodinv.cli.main import app
from oodinv.errors import MissingWeights
from oodinv.metrics.base import FeatureDistance, Measure, Metric, Setting, without_network


def brightness_error(a: Tensor, b: Tensor, _weight: Tensor | None) -> Tensor:
    return (a.mean(dim=(1, 2, 3)) - b.mean(dim=(1, 2, 3))).abs()


def mean_colour(images: Tensor) -> NDArray[np.float64]:
    return images.double().mean(dim=(2, 3)).cpu().numpy()


def unavailable(_setting: Setting) -> Measure:
    raise MissingWeights("place oracle.bin in the cache")


BRIGHTNESS = Metric(
    "brightness", "brightness error", "lower", 3, "difference of mean levels", without_network(brightness_error), False
)
ORACLE = Metric("oracle", "the oracle", "higher", 1, "truth", unavailable)
COLOUR = FeatureDistance("frechet_colour", "Fréchet (colour)", 3, "in mean colours", lambda _setting: mean_colour)


def test_a_metric_from_outside_the_package_has_columns_and_explanations(
    tiny_card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, BRIGHTNESS, ORACLE))
    monkeypatch.setattr(metrics, "DISTANCES", (*metrics.DISTANCES, COLOUR))
    protocol = {
        "kind": "benchmark", "name": "test", "title": "A test", "protocol": "none", "reference": "crop",
        "metrics": [{"metric": "brightness"}, {"metric": "oracle"}, {"metric": "psnr"}],
        "distances": ["frechet_colour"], "cost_images": 1,
    }  # fmt: skip
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(protocol))
    (tmp_path / "crops").mkdir()
    crops = smooth_crops(tmp_path / "crops", 5)
    arguments = ["benchmark", "--dataset", str(crops), "--aligned", "--protocol", str(tmp_path / "test.yaml")]
    arguments += ["--model", str(tiny_card), "-o", str(tmp_path / "out"), "--device", "cpu", "--quiet", "--json"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    tables = {table["name"]: table for table in json.loads(done.stdout)["tables"]}
    composite, inside = tables["scores-composite"], tables["scores-in-domain"]
    meanings = {column["key"]: column["meaning"] for column in composite["columns"]}
    assert meanings["brightness"].startswith("difference of mean levels")
    assert meanings["frechet_colour"] == "in mean colours"
    row = composite["rows"][0]["values"]
    assert 0 <= row["brightness"]["mean"] < 2
    assert row["frechet_colour"]["mean"] > 0
    assert "oracle" not in row
    assert any("the oracle is not measured: place oracle.bin" in note for note in composite["notes"])
    assert {column["key"] for column in inside["columns"]} & {"brightness", "psnr"} == {"psnr"}
    assert "brightness error" in (tmp_path / "out" / "report.html").read_text()


def test_names_of_metrics_are_unique() -> None:
    names = [entry.name for entry in (*metrics.METRICS, *metrics.DISTANCES)]
    assert len(set(names)) == len(names)
    a = torch.linspace(-1, 1, 2 * 3 * 256 * 256).reshape(2, 3, 256, 256)
    for metric in metrics.METRICS[:7]:
        assert metric.load(Setting(torch.device("cpu")))(a, a.flip(0), None).shape == (2,), metric.name
