"""`oodinv benchmark` shared by shards or by Ray workers, and `oodinv edit` by Ray workers: results of one process."""

from pathlib import Path

import pytest
import yaml
from command import call_here, files, smooth_crops

PROTOCOL = {
    "kind": "benchmark",
    "name": "test",
    "title": "A test",
    "protocol": "crops as they are",
    "reference": "crop",
    "metrics": [{"metric": "psnr"}, {"metric": "ssim"}],
    "ablate": ["plain", "no-mask"],
    "cost_images": 1,
}


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine pictures of 32 px and one that is none."""
    folder = smooth_crops(tmp_path_factory.mktemp("crops"), 9)
    (folder / "bad.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def options(crops: Path, tiny_card: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A benchmark but for its output."""
    protocol = tmp_path_factory.mktemp("protocol") / "test.yaml"
    protocol.write_text(yaml.safe_dump(PROTOCOL))
    named = {"--dataset": crops, "--model": tiny_card, "--protocol": protocol, "--batch-size": "2"}
    return ["benchmark", "--aligned", "--json", *(str(word) for option in named.items() for word in option)]


@pytest.fixture(scope="module")
def whole(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run by one process."""
    folder = tmp_path_factory.mktemp("whole")
    assert call_here(*options, "-o", folder).returncode == 1  # for the one bad photo
    return folder


def scores(folder: Path) -> dict[str, str]:
    """Hashes of the scores of each photo and of their tables: all but cost, and pages that show it."""
    kept = files(folder / "models")
    tables = {path.name: path.read_text() for path in sorted(folder.glob("scores-*.*"))}
    assert len(kept) >= 9
    assert tables
    return {name: text for name, text in (kept | tables).items() if "manifest" not in name}


def test_shards_of_a_benchmark_leave_the_scores_of_one_run(options: list[str], whole: Path, tmp_path: Path) -> None:
    done = [call_here(*options, "-o", tmp_path / "shared", "--shard", f"{n}/3") for n in (2, 0, 1)]
    assert sorted(run.returncode for run in done) == [0, 0, 1], [run.stderr for run in done]
    assert scores(tmp_path / "shared") == scores(whole)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_ray_workers_leave_the_scores_of_one_run(options: list[str], whole: Path, tmp_path: Path) -> None:
    done = call_here(*options, "-o", tmp_path / "shared", "--engine", "ray", "--workers", "2")
    assert done.returncode == 1, done.stderr
    assert scores(tmp_path / "shared") == scores(whole)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_an_edit_by_ray_workers_is_that_of_one_process(crops: Path, tiny_card: Path, tmp_path: Path) -> None:
    (tmp_path / "average.yaml").write_text("truncation: 0.5")
    common = ["--aligned", "-r", tmp_path / "average.yaml", "--model", tiny_card, "--batch-size", "2", "--quiet"]
    assert call_here("edit", crops, "-o", tmp_path / "one", *common).returncode == 1
    done = call_here("edit", crops, "-o", tmp_path / "two", *common, "--engine", "ray", "--workers", "2")
    assert done.returncode == 1, done.stderr
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert {name for name in one if one[name] != two.get(name)} <= {"inversion/manifest.jsonl"}  # seconds differ
    assert one.keys() == two.keys()
