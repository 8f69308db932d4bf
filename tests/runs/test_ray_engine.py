"""Runs on Ray: two workers leave what one process leaves, also when one of them is lost on the way."""

import json
import os
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from command import call, call_here, files, numbered_photos
from neighbours import HEADER, Neighbours
from neighbours import files as tree
from PIL import Image

from oodinv.errors import MissingWeights, OodinvError, OutputError
from oodinv.runs import manifest, ray_engine, runner
from oodinv.runs.collect import collect
from oodinv.runs.ray_engine import Cluster, Workers, plan
from oodinv.runs.runner import Finished, Started

pytestmark = pytest.mark.slow

WORKERS = Workers(2, 1, 0)
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'oodinv[ray]'")


@pytest.mark.parametrize(
    ("count", "device", "resources", "expected"),
    [
        (None, "auto", {"CPU": 16.0, "GPU": 2.0}, Workers(2, 2, 1)),
        (None, "cpu", {"CPU": 16.0, "GPU": 2.0}, Workers(8, 2, 0)),
        (None, "auto", {"CPU": 1.0}, Workers(1, 1, 0)),
        (2, "auto", {"CPU": 2.0}, Workers(2, 1, 0)),
        (1, "cuda", {"CPU": 4.0, "GPU": 2.0}, Workers(1, 2, 1)),
    ],
)
def test_workers_fit_the_cluster(
    count: int | None, device: str, resources: dict[str, float], expected: Workers
) -> None:
    assert plan(count, device, resources) == expected


def test_too_many_workers_are_refused() -> None:
    with pytest.raises(OodinvError, match="--workers 2"):
        plan(3, "cpu", {"CPU": 2.0})
    with pytest.raises(OodinvError, match="no GPU"):
        plan(None, "cuda:0", {"CPU": 2.0})


@dataclass
class Perishable(Neighbours):
    """Kills its own process the first time that a worker computes."""

    mark: Path = Path()

    def compute(self, photos: list[bytes]) -> list[tuple[str, bytes]]:
        try:
            self.mark.touch(exist_ok=False)
        except FileExistsError:
            return super().compute(photos)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still alive")


def unmade() -> Neighbours:
    """Stages whose network is missing on the worker."""
    raise MissingWeights("net.pt: there is no such file; put it there")


class Unwritable(Neighbours):
    """Stages whose output folder can't be written."""

    def write(self, results: tuple[str, bytes], folder: Path) -> list[str]:
        raise OutputError(f"{folder / results[0]}: no space left; free some")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return numbered_photos(tmp_path / "photos", 41)


@pytest.mark.usefixtures("ray_cluster")
def test_a_lost_workers_share_is_done_by_others(photos: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    list(runner.run(runner.local(Neighbours()), collect([photos], one), one, HEADER, chunk=2))
    engine = Cluster(partial(Perishable, mark=tmp_path / "mark"), WORKERS)
    events = list(runner.run(engine, collect([photos], two), two, HEADER, chunk=2))
    assert (tmp_path / "mark").is_file()
    assert events[0] == Started(41, 0)
    assert sum(isinstance(event, Finished) for event in events) == 41
    assert tree(two) == tree(one)
    again = list(runner.run(engine, collect([photos], two), two, HEADER, chunk=2))
    assert again[0] == Started(41, 39)
    assert tree(two) == tree(one)


@pytest.mark.usefixtures("ray_cluster")
def test_an_output_that_can_not_be_written_ends_the_run(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(OodinvError, match="no space left"):
        list(runner.run(Cluster(Unwritable, WORKERS), collect([photos], out), out, HEADER, chunk=2))


@pytest.mark.usefixtures("ray_cluster")
def test_a_network_that_a_worker_lacks_ends_the_run(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(OodinvError, match=r"net\.pt"):
        list(runner.run(Cluster(unmade, WORKERS), collect([photos], out), out, HEADER, chunk=2))


def test_two_ray_workers_leave_what_one_process_does(
    tiny_card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops = tmp_path / "crops"
    crops.mkdir()
    for n in range(18):
        Image.effect_noise((32, 32), 40 + n).convert("RGB").save(crops / f"{n:02d}.png")
    for name, value in {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}.items():
        monkeypatch.setenv(name, value)
    options = ["--aligned", "--model", tiny_card, "--batch-size", "2", "--quiet", "--noise", "random"]
    assert call_here("invert", crops, "-o", tmp_path / "one", *options).returncode == 0
    done = call("invert", crops, "-o", tmp_path / "two", *options, "--engine", "ray", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "two") == files(tmp_path / "one")
    lines = [(tmp_path / out / manifest.FILE_NAME).read_text().splitlines() for out in ("one", "two")]
    assert [json.loads(a) | {"seconds": 0} for a in lines[0]] == [json.loads(b) | {"seconds": 0} for b in lines[1]]


def test_a_cluster_that_does_not_start_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # as Ray has it

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(OodinvError, match=r"timed out during startup.*RAY_ADDRESS"):
        ray_engine.start(None, "cpu")


def test_options_that_do_not_go_together_are_refused(photos: Path, tmp_path: Path) -> None:
    for options in (["--workers", "2"], ["--engine", "ray", "--shard", "0/2"]):
        done = call_here("align", photos, "-o", tmp_path / "out", *options)
        assert done.returncode == 2
        assert "leave" in done.stderr
    assert ray_engine.CHUNKS_A_TASK > 1
