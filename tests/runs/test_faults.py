"""Faults around a run: two runs at once, full disks, kills, too little memory."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest
from neighbours import HEADER, KilledError, Neighbours, files, run, statuses
from tolerances import FLOAT32, LEVEL

from oodinv.errors import OutputError
from oodinv.imaging.files import atomic_write
from oodinv.runs import lock, manifest, runner
from oodinv.runs.collect import collect

HOLD = """
import sys
from pathlib import Path
from oodinv.runs import lock
folder = Path(sys.argv[1])
with lock.gate(folder):
    claim = lock.claim(folder)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_is_one_runs_until_that_process_ends(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match=rf"process {other.pid} on .*another output folder"):
            run(Neighbours(), photos, out)
        other.kill()
    assert lock._locks(out)  # left behind, and in nobody's way
    assert set(statuses(run(Neighbours(), photos, out)).values()) == {"done"}
    assert not list(out.glob(".[lh]o*"))


def test_a_run_that_is_given_up_frees_its_folder(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    events = runner.run(runner.local(Neighbours()), collect([photos], out), out, HEADER, chunk=4)
    next(events)
    with pytest.raises(OutputError, match=f"process {os.getpid()}"):
        run(Neighbours(), photos, out)
    events.close()
    run(Neighbours(), photos, out)


def test_a_full_disk_stops_the_run_and_a_repeated_one_ends_the_same(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(Neighbours(), photos, tmp_path / "whole")
    out = tmp_path / "out"
    calls = []

    def full(descriptor: int) -> None:
        """Fails at the third line of the manifest."""
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == manifest.FILE_NAME:
            calls.append(descriptor)
            if len(calls) == 3:
                raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match=r"manifest\.jsonl.*No space left"):
            run(Neighbours(), photos, out)
    run(Neighbours(), photos, out)
    assert files(out) == files(tmp_path / "whole")


def test_an_output_that_is_a_file_is_an_error(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="out"):
        run(Neighbours(), photos, tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_output_is_an_error(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="permissions"):
        run(Neighbours(), photos, tmp_path / "out")


def test_an_output_removed_while_running_stops_the_run(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    events = runner.run(runner.local(Neighbours()), collect([photos], out), out, HEADER, chunk=1)
    next(events)
    next(events)
    while out.exists():  # the run may be writing into it
        shutil.rmtree(out, ignore_errors=True)
    with pytest.raises(OutputError, match="removed while the run went on"):
        list(events)
    assert set(statuses(run(Neighbours(), photos, out)).values()) == {"done"}


def test_a_write_that_fails_in_a_removed_output_says_that_it_was_removed(photos: Path, tmp_path: Path) -> None:
    class Late(Neighbours):
        def write(self, results: tuple[str, bytes], folder: Path) -> list[str]:
            while folder.exists():
                shutil.rmtree(folder, ignore_errors=True)
            raise OutputError(f"{folder / results[0]}: can't be written")

    with pytest.raises(OutputError, match="removed while the run went on"):
        run(Late(), photos, tmp_path / "out")


@pytest.mark.parametrize("damage", [b"", b"half"])
def test_an_output_of_another_size_is_made_again(photos: Path, tmp_path: Path, damage: bytes) -> None:
    """A power cut can leave a file that is there and empty, or cut short."""
    out = tmp_path / "out"
    run(Neighbours(), photos, out)
    expected = files(out)
    (out / "2.two").write_bytes(damage)
    assert statuses(run(Neighbours(), photos, out)) == {"2": "done"}
    assert files(out) == expected


def test_an_empty_output_of_a_manifest_without_sizes_is_made_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(Neighbours(), photos, out)
    path = out / manifest.FILE_NAME
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in line.items() if k != "bytes"}) + "\n" for line in lines))
    (out / "2.two").write_bytes(b"")
    assert statuses(run(Neighbours(), photos, out)) == {"2": "done"}


def test_what_a_killed_process_was_writing_is_removed(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(Neighbours(), photos, out)
    (out / "sub").mkdir()
    left = out / "sub" / f".{'0' * 16}.{'1' * 8}.tmp"
    left.write_bytes(b"half")
    mine = out / ".mine.tmp"
    mine.write_bytes(b"keep me")
    run(Neighbours(), photos, out)
    assert not left.exists()
    assert mine.exists()


def test_two_writes_of_one_file_at_once_leave_one_of_them_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"

    def outer(file: BinaryIO) -> None:
        file.write(b"first")
        atomic_write(path, lambda other: other.write(b"second"))
        file.write(b" half")

    atomic_write(path, outer)
    assert path.read_bytes() == b"first half"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_random_kills_in_a_row_end_the_same(photos: Path, tmp_path: Path) -> None:
    run(Neighbours(), photos, tmp_path / "whole")
    out = tmp_path / "out"
    for kill_at in (1, 2, 5, 9, 4, 7, 11, 3):
        try:
            run(Neighbours(kill_at=kill_at), photos, out)
        except KilledError:
            continue
        break
    run(Neighbours(), photos, out)
    assert files(out) == files(tmp_path / "whole")


def test_too_little_memory_halves_the_batch(tiny_card: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    import torch

    from oodinv.errors import OodinvError
    from oodinv.inversion import Subject
    from oodinv.recipe.card import read_card
    from oodinv.runs.sinks import output_names
    from oodinv.weights.build import load_model
    from oodinv.workflows import invert as inverting

    rng = np.random.default_rng(0)
    subjects = [Subject(str(n), rng.integers(0, 255, (32, 32, 3), dtype=np.uint8), None) for n in range(5)]
    model = load_model(read_card(tiny_card), tiny_card)
    everything = frozenset(output_names())
    run = inverting.InvertStages(model, torch.device("cpu"), "float32", None, "random", 5, everything)
    whole = run._invert(subjects)
    assert np.abs(whole[0].generated.astype(int) - whole[1].generated).max() > 0
    invert, sizes = inverting.invert, []

    def small(model, crops, **options):  # type: ignore[no-untyped-def]
        sizes.append(len(crops))
        if len(crops) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return invert(model, crops, **options)

    monkeypatch.setattr(inverting, "invert", small)
    room = 2
    halved = run._invert(subjects)
    assert sizes == [5, 2, 3, 1, 2]
    for a, b in zip(whole, halved, strict=True):
        assert a.subject is b.subject
        np.testing.assert_allclose(a.w_plus, b.w_plus, atol=FLOAT32)
        np.testing.assert_allclose(a.generated.astype(int), b.generated.astype(int), atol=LEVEL)
    room = 0
    with pytest.raises(OodinvError, match="single face"):
        run._invert(subjects)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_a_folder_ends_as_an_undisturbed_one() -> None:
    """A few kills of what `bench/kills.py` does two hundred times."""
    script = Path(__file__).resolve().parents[2] / "bench" / "kills.py"
    environment = {**os.environ, "PYTHONPATH": str(script.parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), "--kills", "3", "--photos", "16"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("3 kills")
