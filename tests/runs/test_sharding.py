"""Shares of one run: together, in any order, killed or lost, they leave what a single run leaves."""

import itertools
import json
import os
from pathlib import Path

import pytest
from command import call_here, files, start
from hypothesis import given
from hypothesis import strategies as st
from neighbours import HEADER, KilledError, Neighbours
from neighbours import files as tree
from PIL import Image

from oodinv.errors import ManifestError, OutputError
from oodinv.runs import manifest, runner
from oodinv.runs.collect import collect
from oodinv.runs.manifest import Header
from oodinv.runs.runner import Finished, Started
from oodinv.runs.sharding import Shard, launched, parse
from oodinv.runs.sources.base import Job


@given(st.integers(0, 40), st.integers(1, 6), st.integers(1, 7))
def test_each_job_is_in_one_share_with_the_neighbours_it_always_has(jobs: int, chunk: int, count: int) -> None:
    every = [Job(Path(f"{n}.jpg"), str(n)) for n in range(jobs)]
    shares = [Shard(i, count).of(every, chunk) for i in range(count)]
    assert sorted((j for share in shares for j in share), key=every.index) == every
    chunks = [every[s : s + chunk] for s in range(0, jobs, chunk)]
    found = [share[s : s + chunk] for share in shares for s in range(0, len(share), chunk)]
    assert sorted(found, key=lambda c: every.index(c[0])) == chunks


@pytest.mark.parametrize("text", ["", "1", "2/2", "1/0", "-1/2", "a/b", "1/2/3", "0 / 2"])
def test_text_that_is_no_valid_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="shard"):
        parse(text)


def test_torchrun_says_which_share_is_meant() -> None:
    assert launched({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}) == Shard(1, 4) == parse("1/4")
    assert launched({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert launched({}) is None


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(11):
        (folder / f"{n:02d}.jpg").write_bytes({3: b"bad"}.get(n, f"photo {n}".encode()))
    return folder


def share(photos: Path, out: Path, shard: Shard | None, stages: Neighbours | None = None, chunk: int = 2) -> int:
    """Runs a share and returns how many inputs it finished."""
    jobs = collect([photos], out)
    events = list(runner.run(runner.local(stages or Neighbours()), jobs, out, HEADER, chunk=chunk, shard=shard))
    return sum(isinstance(event, Finished) for event in events)


@pytest.fixture
def single(photos: Path, tmp_path: Path) -> dict[str, bytes]:
    share(photos, tmp_path / "single", None)
    return tree(tmp_path / "single")


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_shares_one_after_another_leave_the_same(
    photos: Path, tmp_path: Path, single: dict[str, bytes], order: list[int]
) -> None:
    out = tmp_path / "out"
    counts = [share(photos, out, Shard(i, 3)) for i in order]
    assert sum(counts) == 11
    assert tree(out) == single
    assert sum(share(photos, out, Shard(i, 3)) for i in order) == 1  # the bad one, tried again
    assert tree(out) == single


def test_shares_at_the_same_time_leave_the_same(photos: Path, tmp_path: Path, single: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    jobs = collect([photos], out)
    runs = [runner.run(runner.local(Neighbours()), jobs, out, HEADER, chunk=2, shard=Shard(i, 2)) for i in range(2)]
    assert [next(events) for events in runs] == [Started(6, 0), Started(5, 0)]
    assert manifest.part_names(out) == ["manifest.0-of-2.jsonl", "manifest.1-of-2.jsonl"]
    for events in (runs[1], runs[0]):
        assert not (out / manifest.FILE_NAME).exists()
        list(events)
    assert tree(out) == single


def test_a_killed_share_goes_on_where_it_was(photos: Path, tmp_path: Path, single: dict[str, bytes]) -> None:
    whole = Neighbours()
    share(photos, tmp_path / "count", Shard(0, 2), whole)
    for kill_at in range(1, whole.calls + 1):
        out = tmp_path / f"killed-{kill_at}"
        with pytest.raises(KilledError):
            share(photos, out, Shard(0, 2), Neighbours(kill_at=kill_at))
        share(photos, out, Shard(1, 2))
        share(photos, out, Shard(0, 2))
        assert tree(out) == single, f"killed at call {kill_at}"


def test_others_do_what_a_lost_share_left(photos: Path, tmp_path: Path, single: dict[str, bytes]) -> None:
    for others in ([None], [Shard(0, 3), Shard(1, 3), Shard(2, 3)]):
        out = tmp_path / f"out-{len(others)}"
        events = runner.run(runner.local(Neighbours()), collect([photos], out), out, HEADER, chunk=2, shard=Shard(0, 2))
        list(itertools.islice(events, 3))
        events.close()
        kept = manifest.read(out, "manifest.0-of-2.jsonl")
        assert kept is not None
        done = sum(e.status == "done" for e in kept[1].values())
        assert done > 0
        assert sum(share(photos, out, other) for other in others) == 11 - done
        assert tree(out) == single


def test_shares_and_whole_runs_keep_out_of_each_others_way(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    events = runner.run(runner.local(Neighbours()), collect([photos], out), out, HEADER, chunk=2, shard=Shard(0, 2))
    next(events)
    for shard, chunk in ((None, 2), (Shard(0, 2), 2), (Shard(1, 3), 2), (Shard(1, 2), 4)):
        with pytest.raises(OutputError, match=rf"process {os.getpid()} on"):
            share(photos, out, shard, chunk=chunk)
    share(photos, out, Shard(1, 2))
    events.close()


def test_a_share_with_other_settings_is_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    events = runner.run(runner.local(Neighbours()), collect([photos], out), out, HEADER, chunk=2, shard=Shard(0, 2))
    next(events)
    other = runner.run(
        runner.local(Neighbours()),
        collect([photos], out),
        out,
        Header("1", "test", {}, {}, {"seed": 2}),
        chunk=2,
        shard=Shard(1, 2),
    )
    with pytest.raises(ManifestError, match="seed: 1 → 2"):
        next(other)
    events.close()


def test_a_share_can_not_restart(photos: Path, tmp_path: Path) -> None:
    jobs = collect([photos], tmp_path / "out")
    with pytest.raises(ValueError, match="restart"):
        list(
            runner.run(
                runner.local(Neighbours()), jobs, tmp_path / "out", HEADER, chunk=2, shard=Shard(0, 2), restart=True
            )
        )
    done = call_here("align", photos, "-o", tmp_path / "out", "--shard", "0/2", "--restart")
    assert done.returncode == 2
    assert call_here("align", photos, "-o", tmp_path / "out", "--shard", "2/2").returncode == 2


def test_two_processes_of_torchrun_leave_what_one_does(tiny_card: Path, tmp_path: Path) -> None:
    crops = tmp_path / "crops"
    crops.mkdir()
    for n in range(5):
        Image.effect_noise((32, 32), 40 + n).convert("RGB").save(crops / f"{n}.png")
    arguments = [
        "invert",
        crops,
        "--aligned",
        "--model",
        tiny_card,
        "--batch-size",
        "2",
        "--quiet",
        "--noise",
        "random",
    ]
    assert call_here(*arguments, "-o", tmp_path / "one").returncode == 0
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"} for rank in range(2)]
    both = [start(*arguments, "-o", tmp_path / "two", environment=os.environ | rank) for rank in ranks]
    assert [process.wait() for process in both] == [0, 0]
    assert files(tmp_path / "two") == files(tmp_path / "one")
    lines = [(tmp_path / out / manifest.FILE_NAME).read_text().splitlines() for out in ("one", "two")]
    assert [json.loads(a) | {"seconds": 0} for a in lines[0]] == [json.loads(b) | {"seconds": 0} for b in lines[1]]
