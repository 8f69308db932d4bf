"""`oodinv benchmark`: variants, tables, protocols, and whole runs: repeated, cut short, given bad photos."""

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml
from command import call_here, smooth_crops
from skimage.metrics import peak_signal_noise_ratio

from oodinv.benchmark.ablations import EncodedBatch, ablations_of, find_ablations
from oodinv.benchmark.plots import Series, distribution, scatter
from oodinv.benchmark.report import page
from oodinv.benchmark.score import check_metrics
from oodinv.errors import RecipeError
from oodinv.imaging.decode import read_photo
from oodinv.inversion import Inversion, encode, invert
from oodinv.recipe.benchmark import benchmark_names, find_benchmark_recipe
from oodinv.recipe.card import read_card
from oodinv.reporting.tables import (
    Column,
    Table,
    TableRow,
    Value,
    best,
    interval,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
)
from oodinv.weights.build import Model, load_model

PROTOCOL = {
    "kind": "benchmark",
    "name": "test",
    "title": "A test",
    "protocol": "crops as they are",
    "reference": "crop",
    "metrics": [{"metric": "psnr"}, {"metric": "ssim"}, {"metric": "mse_unit", "size": 64}],
    "ablate": ["plain", "no-flow", "no-mask", "cycles-1..2", "sizes"],
    "cost_images": 2,
    "published_source": "nobody",
    "published": [{"method": "peer", "values": {"psnr": 99.0}}],
}
VARIANTS = ["full", "plain", "no-flow", "no-mask", "cycles-1", "cycles-2", "size-16", "size-32"]


@pytest.fixture(scope="module")
def tiny(tiny_card: Path) -> Model:
    """The small model."""
    return load_model(read_card(tiny_card), tiny_card)


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures of 32 px and one that is none."""
    folder = smooth_crops(tmp_path_factory.mktemp("crops"), 5)
    (folder / "bad.png").write_bytes(b"no picture")
    return folder


def measure(crops: Path, card: Path, folder: Path, *more: str) -> "dict[str, object]":
    """Runs the command; its summary."""
    protocol = folder.parent / "test.yaml"
    protocol.write_text(yaml.safe_dump(PROTOCOL))
    options = ("--aligned", "--batch-size", "2", "--quiet", "--json", "--protocol", str(protocol))
    done = call_here("benchmark", "--dataset", crops, "-o", folder, "--model", card, *options, *more)
    assert done.returncode == 1, done.stderr  # for the one bad photo
    assert "bad.png" in done.stderr
    summary: dict[str, object] = json.loads(done.stdout)
    return summary


@pytest.fixture(scope="module")
def report(crops: Path, tiny_card: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run."""
    folder = tmp_path_factory.mktemp("bench") / "report"
    measure(crops, tiny_card, folder)
    return folder


def rows(report: Path, target: str) -> dict[str, dict[str, str]]:
    """CSV rows of a table by variant."""
    text = (report / f"scores-{target}.csv").read_text()
    return {row["variant"]: row for row in csv.DictReader(io.StringIO(text))}


# --- Ablations


def test_names_of_ablations_expand_in_order_and_once(tiny: Model) -> None:
    found = find_ablations(["plain", "cycles-1..3", "size-32", "plain", "sizes"], tiny.samm)
    names = ["full", "plain", "cycles-1", "cycles-2", "cycles-3", "size-32", "size-16"]
    assert [ablation.name for ablation in found] == names
    for wrong in ("no-such", "cycles-3..1", "cycles-0", "size-"):
        with pytest.raises(RecipeError, match=wrong):
            find_ablations([wrong], None)


def test_ablations_fit_the_model(tiny: Model) -> None:
    assert [a.name for a in ablations_of(["sizes"], tiny.samm)] == ["full", "size-16", "size-32"]
    assert [a.name for a in ablations_of(["plain", "sizes"], None)] == ["full"]
    with pytest.raises(RecipeError, match="16, 32"):
        ablations_of(["size-64"], tiny.samm)


def test_each_ablation_changes_one_thing_and_leaves_the_model_alone(tiny: Model) -> None:
    torch.manual_seed(1)
    crop = torch.rand(2, 3, 32, 32) * 2 - 1
    full = invert(tiny, crop)
    batch = EncodedBatch(tiny, crop, encode(tiny, crop), full, torch.float32)

    def run(name: str) -> Inversion:
        (ablation,) = find_ablations([name], tiny.samm)[1:]
        return ablation.invert(batch)

    plain, still, bare = run("plain"), run("no-flow"), run("no-mask")
    assert not plain.mask.any()
    assert torch.equal(plain.composite, plain.generated)
    assert not torch.equal(plain.generated, full.generated)
    assert torch.equal(still.mask, full.mask)
    assert not any(a.flow.any() for a in still.alignments.values())
    assert torch.equal(bare.generated, full.generated)
    assert torch.equal(bare.composite, full.generated)
    assert torch.equal(run("cycles-2").composite, full.composite)
    assert not torch.equal(run("cycles-1").composite, full.composite)
    assert sorted(run("size-16").alignments) == [16]
    assert tiny.samm is not None
    assert (tiny.samm.sizes, tiny.samm.cycles) == ([16, 32], 2)
    assert torch.equal(invert(tiny, crop).composite, full.composite)


# --- Tables


TABLE = Table(
    "t",
    "50 % & more",
    ("model",),
    (Column("a", "A_1", "higher", 1, "one"), Column("b", "B", "lower", 2, "two"), Column("n", "n", None, 0, "three")),
    (
        TableRow(("x|y",), {"a": Value(2.0, 0.1, 1.0, 3.0, 5), "b": Value(1.0), "n": Value(1)}),
        TableRow(("z",), {"a": Value(1.0), "b": Value(1.0), "n": Value(2)}),
        TableRow(("peer",), {"a": Value(9.0)}, published=True),
    ),
)


def test_the_best_measured_value_is_marked_in_every_form() -> None:
    assert best(TABLE) == {(0, "a")}  # not the published 9, and nothing among equals
    markdown, latex = (" ".join(text.split()) for text in (to_markdown(TABLE), to_latex(TABLE)))
    assert "| x\\|y | **2.0 ± 0.1** | 1.00 | 1 |" in markdown
    assert r"x|y & \textbf{2.0 $\pm$ 0.1} & 1.00 & 1 \\" in latex
    assert r"\caption{50 \% \& more}" in latex
    assert r"peer $\dagger$ & 9.0 & -- & -- \\" in latex
    assert [latex.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\hline")] == [1, 1, 1, 0]
    recipe = find_benchmark_recipe("folder")
    once, twice = (" ".join(page(recipe, [], [TABLE] * n).split()) for n in (1, 2))
    assert "<b>2.0 ± 0.1</b>" in once
    assert f'title="{interval(TABLE.rows[0].values["a"], 1)}"' in once
    assert "50 % &amp; more" in once
    assert (once.count("<details open>"), once.count("<details>")) == (1, 0)
    assert (twice.count("<details open>"), twice.count("<details>")) == (1, 1)
    records = list(csv.DictReader(io.StringIO(to_csv(TABLE))))
    assert [r["a.best"] for r in records] == ["1", "0", "0"]
    assert [r["published"] for r in records] == ["0", "0", "1"]
    assert json.loads(to_json([TABLE]))["tables"][0]["rows"][0]["values"]["a"] == {
        "mean": 2.0,
        "error": 0.1,
        "low": 1.0,
        "high": 3.0,
        "count": 5,
        "best": True,
    }


def test_plots_are_well_formed_and_hold_every_point() -> None:
    drawn = scatter([Series("a<b", [1.0, 2.0], [3.0, 3.0]), Series("c", [1.5], [9.0])], "x", "y")
    assert len(list(ElementTree.fromstring(f"<p>{drawn}</p>").iter("{http://www.w3.org/2000/svg}circle"))) == 3
    for series in ([Series("one", [0.5])], [Series("none", [])], [Series("a", [1.0, 1.0, 2.0]), Series("b", [3.0])]):
        ElementTree.fromstring(f"<p>{distribution(series, 'x & y')}</p>")


# --- Whole runs


def test_tables_have_a_row_for_each_ablation_and_a_column_for_each_metric(report: Path) -> None:
    composite, alone, inside = (rows(report, target) for target in ("composite", "generated", "in-domain"))
    assert list(composite) == [*VARIANTS, "published"]
    assert list(alone) == list(inside) == VARIANTS
    assert {row["n.mean"] for v, row in composite.items() if v != "published"} == {"5"}
    assert (composite["published"]["psnr.mean"], composite["published"]["psnr.best"]) == ("99.0", "0")
    assert composite["plain"]["psnr.mean"] == alone["plain"]["psnr.mean"]
    assert composite["plain"]["mask_area.mean"] == composite["no-mask"]["mask_area.mean"] == "0.0"
    assert float(composite["full"]["mask_area.mean"]) > 0
    assert (composite["no-flow"]["flow.mean"], composite["plain"]["flow.mean"]) == ("0.0", "")
    assert composite["cycles-2"]["psnr.mean"] == composite["full"]["psnr.mean"]
    for row in composite.values():
        if row["psnr.low"]:
            assert float(row["psnr.low"]) <= float(row["psnr.mean"]) <= float(row["psnr.high"])


def test_scores_are_those_of_what_invert_writes(report: Path, crops: Path, tiny_card: Path, tmp_path: Path) -> None:
    """The same pictures by way of `oodinv invert` and another library."""
    call_here("invert", crops, "-o", tmp_path, "--aligned", "--batch-size", "2", "--model", tiny_card)
    for folder, target in (("composites", "composite"), ("generated", "generated")):
        expected = [
            peak_signal_noise_ratio(
                read_photo(crops / f"p{n}.png").pixels, read_photo(tmp_path / folder / f"p{n}.png").pixels
            )
            for n in range(5)
        ]
        assert float(rows(report, target)["full"]["psnr.mean"]) == pytest.approx(np.mean(expected), rel=1e-6)


def test_a_repeated_run_gives_the_same_scores_to_the_last_digit(
    report: Path, crops: Path, tiny_card: Path, tmp_path: Path
) -> None:
    names = [path.name for path in report.glob("scores*")]
    assert len(names) == 6
    before = {name: (report / name).read_bytes() for name in names}
    one = report / "models" / "tiny" / "scores" / "p3.json"
    stamp = one.with_name("p2.json").stat().st_mtime_ns
    one.unlink()
    measure(crops, tiny_card, report)
    assert one.is_file()
    assert one.with_name("p0.json").stat().st_mtime_ns < one.stat().st_mtime_ns
    assert stamp <= one.stat().st_mtime_ns
    assert {name: (report / name).read_bytes() for name in names} == before
    measure(crops, tiny_card, tmp_path / "fresh")
    assert {name: (tmp_path / "fresh" / name).read_bytes() for name in names} == before


def test_shards_of_a_benchmark_end_as_one_run(report: Path, crops: Path, tiny_card: Path, tmp_path: Path) -> None:
    """The photo that is none belongs to one of them."""
    protocol = tmp_path / "test.yaml"
    protocol.write_text(yaml.safe_dump(PROTOCOL))
    options = ("--aligned", "--batch-size", "2", "--quiet", "--protocol", protocol, "--model", tiny_card)
    codes = [
        call_here("benchmark", "--dataset", crops, "-o", tmp_path / "out", *options, "--shard", f"{n}/2").returncode
        for n in range(2)
    ]
    assert sorted(codes) == [0, 1]
    for path in report.glob("scores*"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_dry_run_of_a_benchmark_lists_every_models_photos(
    report: Path, crops: Path, tiny_card: Path, tmp_path: Path
) -> None:
    protocol = report.parent / "test.yaml"
    options = ("--aligned", "--protocol", protocol, "--model", tiny_card, "--dry-run", "--json")
    fresh = call_here("benchmark", "--dataset", crops, "-o", tmp_path / "out", *options)
    assert fresh.returncode == 0, fresh.stderr
    plan = json.loads(fresh.stdout)["plan"]
    assert {row["state"] for row in plan} == {"to do"}
    assert {row["results"] for row in plan} == {
        str(tmp_path / "out" / "models" / "tiny" / path.stem) for path in crops.iterdir()
    }
    assert not (tmp_path / "out").exists()
    before = {path: path.read_bytes() for path in report.rglob("*") if path.is_file()}
    again = json.loads(call_here("benchmark", "--dataset", crops, "-o", report, *options, "--batch-size", "2").stdout)
    states = {row["name"]: row["state"] for row in again["plan"]}
    assert states == {path.stem: "to do" if path.stem == "bad" else "done already" for path in crops.iterdir()}
    assert {path: path.read_bytes() for path in report.rglob("*") if path.is_file()} == before


def test_the_html_report_stands_alone(report: Path) -> None:
    page = (report / "report.html").read_text()
    assert page.count("crops as they are") == 1
    assert page.count("<svg") == 3
    assert page.count("data:image/png;base64,iVBOR") == 5
    for words in ("What the columns mean", "worst composites", "mask area %", "published by others", "Cost"):
        assert words in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_cost_is_apart_and_names_the_device(report: Path) -> None:
    record = json.loads((report / "cost.json").read_text())["tables"][0]
    assert [row["variant"] for row in record["rows"]] == VARIANTS
    for row in record["rows"]:
        assert row["device"]
        assert 0 < row["values"]["generate_median"]["mean"] <= row["values"]["generate_p95"]["mean"]
        assert row["values"]["generate_median"]["count"] == 2
    assert "generate_median" not in (report / "scores.json").read_text()


def test_other_settings_are_not_mixed_in(report: Path, crops: Path, tiny_card: Path) -> None:
    options = ("--aligned", "--ablate", "none", "--protocol", report.parent / "test.yaml")
    done = call_here("benchmark", "--dataset", crops, "-o", report, "--model", tiny_card, *options)
    assert done.returncode == 1
    assert "--restart" in done.stderr


# --- Protocols


def test_shipped_protocols_are_valid() -> None:
    names = benchmark_names()
    assert {"sample", "folder", "celebahq", "celebahq-ganinverter"} <= set(names)
    for name in names:
        recipe = find_benchmark_recipe(name)
        assert recipe.name == name
        find_ablations(recipe.ablate, None)
        check_metrics(recipe)


def test_a_missing_dataset_says_all_that_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODINV_DATA", str(tmp_path / "data"))
    done = call_here("benchmark", "--dataset", "celebahq", "-o", tmp_path / "out")
    assert done.returncode == 1
    for words in ("2,824", "https://", "celebahq-test", "OODINV_DATA", "Licence", "non-commercial"):
        assert words in done.stderr
    unknown = call_here("benchmark", "--dataset", "no-such", "-o", tmp_path / "out")
    assert unknown.returncode == 1
    assert "sample" in unknown.stderr


def test_contradictions_in_a_protocol_are_named(tmp_path: Path) -> None:
    for change, words in (
        ({"metrics": [{"metric": "psnr"}, {"metric": "psnr"}]}, "once"),
        ({"metrics": [{"metric": "psnr"}, {"metric": "ms_ssim", "size": 64}]}, "256"),
        ({"metrics": [{"metric": "psnr"}, {"metric": "beauty"}]}, "lpips_alexnet"),
        ({"distances": ["wasserstein"]}, "frechet_sface"),
        ({"published": [{"method": "peer", "values": {"fid": 1.0}}]}, "fid"),
    ):
        path = tmp_path / "p.yaml"
        path.write_text(yaml.safe_dump(PROTOCOL | change))
        with pytest.raises(RecipeError, match=words):
            check_metrics(find_benchmark_recipe(str(path)))
