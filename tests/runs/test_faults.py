"""What can go wrong around a run: two at once, full disks, odd names, links, and manifests that lie."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest
from test_runner import HEADER, KilledError, Neighbours, files, run, statuses
from tolerances import FLOAT32, LEVEL

from oodinv.errors import ImageError, ManifestError, OutputError
from oodinv.imaging.files import atomic_write
from oodinv.runs import lock, manifest, runner
from oodinv.runs.collect import collect, look_through
from oodinv.runs.pipeline import read_bytes
from oodinv.runs.runner import Finished


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(6):
        (folder / f"{n}.jpg").write_bytes(f"photo {n}".encode())
    return folder


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
    events = runner.run(Neighbours(), collect([photos], out), out, HEADER, chunk=4)
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
    events = runner.run(Neighbours(), collect([photos], out), out, HEADER, chunk=1)
    next(events)
    next(events)
    while out.exists():  # the run may be writing into it
        shutil.rmtree(out, ignore_errors=True)
    with pytest.raises(OutputError, match="removed while the run went on"):
        list(events)
    assert set(statuses(run(Neighbours(), photos, out)).values()) == {"done"}


# Manifests that lie


def add_line(out: Path, **changes: object) -> None:
    entry = {"input": "x", "name": "x", "sha256": None, "status": "done", "outputs": []} | changes
    with (out / manifest.FILE_NAME).open("a") as file:
        file.write(json.dumps(entry) + "\n")


@pytest.mark.parametrize(
    "changes",
    [
        {"outputs": ["../victim"]},
        {"outputs": ["a/../../victim"]},
        {"outputs": ["nul\0"]},
        {"outputs": ["\ud800"]},
        {"outputs": ["n" * 300]},
        {"outputs": [7]},
        {"outputs": "victim"},
        {"outputs": [""]},
        {"name": 7},
        {"error": {"a": 1}},
        {"sha256": 3},
        {"seconds": "long"},
        {"status": "odd"},
        {"extra": 1},
    ],
)
def test_no_line_of_a_manifest_breaks_a_run_or_a_restart(
    photos: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim"
    victim.write_text("keep me")
    run(Neighbours(), photos, out)
    expected = files(out)
    add_line(out, **changes)
    run(Neighbours(), photos, out)
    add_line(out, **changes)
    run(Neighbours(), photos, out, restart=True)
    assert files(out) == expected
    assert victim.read_text() == "keep me"


def test_a_restart_removes_nothing_behind_a_link(photos: Path, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "victim").write_text("keep me")
    run(Neighbours(), photos, out)
    (out / "composites").symlink_to(elsewhere, target_is_directory=True)
    add_line(out, outputs=["composites/victim"])
    run(Neighbours(), photos, out, restart=True)
    assert (elsewhere / "victim").read_text() == "keep me"


def test_a_restart_removes_no_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "mine").mkdir(parents=True)
    (out / "mine" / "a.jpg").write_bytes(b"a photo")
    run(Neighbours(), out / "mine", out)
    add_line(out, outputs=["mine/a.jpg"])
    assert statuses(run(Neighbours(), out / "mine", out, restart=True)) == {"a": "done"}
    assert (out / "mine" / "a.jpg").read_bytes() == b"a photo"


@pytest.mark.parametrize("head", [b"garbage\n", b"[]\n", b"\xff\n", b'{"oodinv": 1}\n'])
def test_a_garbage_header_is_refused_unless_restarted(photos: Path, tmp_path: Path, head: bytes) -> None:
    out = tmp_path / "out"
    run(Neighbours(), photos, out)
    expected = files(out)
    (out / manifest.FILE_NAME).write_bytes(head)
    with pytest.raises(ManifestError, match="--restart"):
        run(Neighbours(), photos, out)
    run(Neighbours(), photos, out, restart=True)
    assert files(out) == expected


# Inputs


def test_a_photo_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "growing.jpg"
    path.write_bytes(b"half a photo")
    fstat, calls = os.fstat, []

    def growing(descriptor: int) -> os.stat_result:
        if calls:
            with path.open("ab") as file:
                file.write(b" and the rest")
        calls.append(descriptor)
        return fstat(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", growing)
        with pytest.raises(ImageError, match=r"growing\.jpg: changed while"):
            read_bytes(path)
    assert read_bytes(path) == b"half a photo and the rest"


ODD = ["line\nbreak", "tab\there", " spaces  ", "😀 emoji", "é", "e\u0301", "Case", "case", "a.0", "a", "n" * 246, "-o"]


def test_odd_file_names_are_done_and_found_again(tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for name in ODD:
        (folder / f"{name}.jpg").write_bytes(name.encode())
    count = len(list(folder.iterdir()))
    found = statuses(run(Neighbours(), folder, out))
    assert len(found) == count
    assert set(found.values()) == {"done"}
    assert len(list(out.glob("*.one"))) == count
    again = Neighbours()
    assert statuses(run(again, folder, out)) == {}
    assert again.calls == 0


def test_links_in_a_loop_fail_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "good.jpg").write_bytes(b"x")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "sub").symlink_to(folder, target_is_directory=True)
    out = tmp_path / "out"
    assert statuses(run(Neighbours(), folder, out)) == {"good": "done", "loop": "failed"}
    jobs = collect([folder / "loop.jpg"], out)
    assert [event.entry.status for event in list(runner.run(Neighbours(), jobs, out, HEADER, chunk=1))[1:]] == [
        "failed"
    ]


@pytest.mark.parametrize("output", ["", "out", "sub/out"])
def test_an_output_folder_in_the_input_is_refused(tmp_path: Path, output: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"lies in the input.*outside"):
        run(Neighbours(), tmp_path, tmp_path / output)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_results_among_photos_are_no_photos_the_next_time(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"x")
    run(Neighbours(), photos, tmp_path / "out")
    (tmp_path / "out" / "pasted").mkdir()
    (tmp_path / "out" / "pasted" / "a.jpg").write_bytes(b"x")
    (tmp_path / "out").rename(photos / "out")
    found = look_through([photos], tmp_path / "second")
    assert [job.name for job in found.jobs] == ["a"]
    assert "holds results of `oodinv test`" in found.notes[0]
    with pytest.raises(ImageError, match="holds results of `oodinv test`, not photos"):
        collect([photos / "out"], tmp_path / "second")
    assert [job.name for job in collect([photos / "out" / "pasted"], tmp_path / "second")] == ["a"]


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


def test_a_photo_whose_results_get_another_name_leaves_none_under_the_old_one(tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"a photo")
    (folder / "b.jpg").write_bytes(b"another")
    run(Neighbours(), folder, out)
    (folder / "a.png").write_bytes(b"a third")
    run(Neighbours(), folder, out)
    run(Neighbours(), folder, tmp_path / "at once")
    assert sorted(path.name for path in out.glob("*.one")) == ["a.jpg.one", "a.png.one", "b.one"]
    read = manifest.read(out)
    assert read is not None
    assert list(read[1]) == ["a.jpg", "a.png", "b"]
    (folder / "a.png").unlink()
    run(Neighbours(), folder, out)
    assert sorted(path.name for path in out.glob("*.one")) == ["a.one", "a.png.one", "b.one"]


def test_files_of_unsupported_kinds_are_named_and_change_no_batch(photos: Path, tmp_path: Path) -> None:
    run(Neighbours(), photos, tmp_path / "before")
    for name in ("1.cr2", "0.mp4", "5.pdf"):
        (photos / name).write_bytes(b"not read")
    events = run(Neighbours(), photos, tmp_path / "out")
    found = {e.entry.name: e.entry for e in events if isinstance(e, Finished)}
    assert {name for name, entry in found.items() if entry.status == "unsupported"} == {"1.cr2", "0.mp4", "5.pdf"}
    assert "export it as JPEG" in str(found["1.cr2"].error)
    read = manifest.read(tmp_path / "out")
    assert read is not None
    assert read[1]["0.mp4"].status == "unsupported"
    assert sorted(p.read_bytes() for p in (tmp_path / "out").glob("*.one")) == sorted(
        p.read_bytes() for p in (tmp_path / "before").glob("*.one")
    )


REFUSED = [errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG]


@pytest.mark.parametrize("number", REFUSED)
def test_a_name_that_the_file_system_refuses_fails_that_photo_alone(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As exFAT and NTFS do with colons, and APFS with names that aren't UTF-8."""
    (photos / "a:b.jpg").write_bytes(b"x")
    rename = Path.replace

    def strict(source: Path, target: Path) -> Path:
        if ":" in Path(target).name:
            raise OSError(number, os.strerror(number), str(target))
        return rename(source, target)

    monkeypatch.setattr(Path, "replace", strict)
    events = run(Neighbours(), photos, tmp_path / "out")
    found = statuses(events)
    assert found.pop("a:b") == "failed"
    assert set(found.values()) == {"done"}
    errors = [e.entry.error for e in events if isinstance(e, Finished) and e.entry.error]
    assert "can't hold this name" in errors[0]
    assert not list((tmp_path / "out").glob(".*.tmp"))


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


# Memory


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
