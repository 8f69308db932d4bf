"""Runs over folders: failures stay apart, a killed run resumes to the same files, memory is bounded."""

import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import numbered_photos
from neighbours import HEADER, KilledError, Neighbours, files, run, statuses

from oodinv.errors import ManifestError, OutputError
from oodinv.runs import manifest, pipeline, runner
from oodinv.runs.collect import collect
from oodinv.runs.manifest import Header
from oodinv.runs.runner import Event, Finished, Started


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return numbered_photos(tmp_path / "photos", 11)


def test_a_bad_photo_fails_alone_and_its_reason_is_kept(photos: Path, tmp_path: Path) -> None:
    events = run(Neighbours(), photos, tmp_path / "out")
    assert events[0] == Started(total=11, done=0)
    found = statuses(events)
    assert {name for name, status in found.items() if status == "failed"} == {"03", "07"}
    errors = {e.entry.name: e.entry.error for e in events if isinstance(e, Finished) and e.entry.error}
    assert "bad" in errors["03"]
    assert "ZeroDivisionError" in errors["07"]
    assert "07.jpg" in errors["07"]


def test_the_manifest_is_in_input_order_and_complete(photos: Path, tmp_path: Path) -> None:
    run(Neighbours(), photos, tmp_path / "out")
    read = manifest.read(tmp_path / "out")
    assert read is not None
    header, entries = read
    assert header == HEADER
    assert list(entries) == [f"{n:02d}" for n in range(11)]
    assert entries["00"].outputs == ["00.one", "00.two"]


def test_killed_anywhere_and_repeated_a_run_ends_the_same(photos: Path, tmp_path: Path) -> None:
    whole = Neighbours()
    run(whole, photos, tmp_path / "whole")
    expected = files(tmp_path / "whole")
    for kill_at in range(1, whole.calls + 1):
        out = tmp_path / f"killed-{kill_at}"
        with pytest.raises(KilledError):
            run(Neighbours(kill_at=kill_at), photos, out)
        run(Neighbours(), photos, out)
        assert files(out) == expected, f"killed at call {kill_at}"


def test_finished_photos_are_not_read_again(photos: Path, tmp_path: Path) -> None:
    run(Neighbours(), photos, tmp_path / "out")
    again = Neighbours()
    events = run(again, photos, tmp_path / "out")
    assert events[0] == Started(total=11, done=9)
    assert again.calls == 2  # the two that failed are tried again, and nothing else is


def test_a_failed_photo_that_was_mended_is_done(photos: Path, tmp_path: Path) -> None:
    run(Neighbours(), photos, tmp_path / "out")
    (photos / "03.jpg").write_bytes(b"mended")
    assert statuses(run(Neighbours(), photos, tmp_path / "out")) == {"03": "done", "07": "failed"}


def test_missing_outputs_and_changed_photos_are_made_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(Neighbours(), photos, out)
    (out / "01.two").unlink()
    (photos / "09.jpg").write_bytes(b"another photo")
    os.utime(photos / "09.jpg", (2e9, 2e9))
    found = statuses(run(Neighbours(), photos, out))
    assert found == {"01": "done", "03": "failed", "07": "failed", "09": "done"}


def test_other_settings_are_refused_unless_restarted(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(Neighbours(), photos, out)
    other = Header("1", "test", {}, {}, {"seed": 2})
    jobs = collect([photos], out)
    with pytest.raises(ManifestError, match=r"seed: 1 → 2"):
        list(runner.run(runner.local(Neighbours()), jobs, out, other, chunk=4))
    stray = out / "00.one"
    stray.write_bytes(b"old")
    list(runner.run(runner.local(Neighbours()), jobs, out, other, chunk=4, restart=True))
    assert stray.read_bytes() != b"old"


@pytest.mark.parametrize("tail", [b'{"input": "x", "na', b"\xff\xfe garbage\n", b"[]\n", b'{"a": 1}\n', b"null\n"])
def test_a_torn_or_foreign_manifest_line_is_dropped(photos: Path, tmp_path: Path, tail: bytes) -> None:
    out = tmp_path / "out"
    run(Neighbours(), photos, out)
    expected = files(out)
    with (out / manifest.FILE_NAME).open("ab") as file:
        file.write(tail)
    run(Neighbours(), photos, out)
    assert files(out) == expected


def test_a_manifest_that_names_files_elsewhere_can_not_remove_them(photos: Path, tmp_path: Path) -> None:
    out, victim = tmp_path / "out", tmp_path / "victim"
    victim.write_text("keep me")
    run(Neighbours(), photos, out)
    entry = {"input": "x", "name": "x", "sha256": None, "status": "done", "outputs": ["../victim"]}
    with (out / manifest.FILE_NAME).open("a") as file:
        file.write(json.dumps(entry) + "\n")
    run(Neighbours(), photos, out, restart=True)
    assert victim.read_text() == "keep me"


def test_a_name_that_another_photo_has_is_not_overwritten(photos: Path, tmp_path: Path) -> None:
    out, others = tmp_path / "out", tmp_path / "others"
    run(Neighbours(), photos, out)
    others.mkdir()
    (others / "00.jpg").write_bytes(b"someone else")
    events = run(Neighbours(), others, out)
    assert statuses(events) == {"00": "failed"}
    assert (out / "00.one").read_bytes().startswith(b"00+")
    assert statuses(run(Neighbours(), photos, out)) == {"03": "failed", "07": "failed"}


def test_a_folder_of_photos_that_moved_goes_on_with_its_results(photos: Path, tmp_path: Path) -> None:
    run(Neighbours(), photos, tmp_path / "out")
    expected = (tmp_path / "out/05.one").read_bytes()
    (tmp_path / "out/05.one").unlink()
    found = statuses(run(Neighbours(), photos.rename(tmp_path / "moved"), tmp_path / "out"))
    assert found == {"03": "failed", "05": "done", "07": "failed"}
    assert (tmp_path / "out/05.one").read_bytes() == expected


def test_an_output_folder_that_can_not_be_written_stops_the_run(photos: Path, tmp_path: Path) -> None:
    class Full(Neighbours):
        def write(self, results: tuple[str, bytes], folder: Path) -> list[str]:
            raise OutputError(f"{folder}: no space left for {results[0]}")

    with pytest.raises(OutputError, match="no space"):
        run(Full(), photos, tmp_path / "out")


def test_no_more_photos_are_alive_than_a_few_chunks(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(120):
        (folder / f"{n:03d}.jpg").write_bytes(b"x")
    stages = Neighbours()
    run(stages, folder, tmp_path / "out")
    assert stages.live == 0
    assert stages.most_live <= (2 * pipeline.CHUNKS_AHEAD + 2) * 4


def test_a_slow_run_has_all_but_the_last_photo_in_its_manifest(photos: Path, tmp_path: Path) -> None:
    """So that a kill costs little: manifests were two chunks behind once."""
    out = tmp_path / "out"
    seen: dict[int, int] = {}

    class Slow(Neighbours):
        def compute(self, photos: list[bytes]) -> list[tuple[str, bytes]]:
            seen[int(photos[0])] = len((out / manifest.FILE_NAME).read_text().splitlines()) - 1
            time.sleep(2 if photos == [b"01"] else 0)  # in which the first photo is written
            return super().compute(photos)

    list(runner.run(runner.local(Slow()), collect([photos], out)[:3], out, HEADER, chunk=1))
    assert seen[2] >= 1


def test_events_come_while_the_run_goes_on(photos: Path, tmp_path: Path) -> None:
    stages = Neighbours()
    events: Iterator[Event] = runner.run(
        runner.local(stages), collect([photos], tmp_path / "o"), tmp_path / "o", HEADER, chunk=1
    )
    list(itertools.islice(events, 3))
    assert stages.calls < 3 * 11


def test_a_photo_replaced_by_an_older_one_is_made_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(Neighbours(), photos, out)
    (photos / "05.jpg").write_bytes(b"another photo")
    os.utime(photos / "05.jpg", (1, 1))
    assert statuses(run(Neighbours(), photos, out))["05"] == "done"


def test_a_bug_while_writing_fails_that_photo_alone(photos: Path, tmp_path: Path) -> None:
    class Odd(Neighbours):
        def write(self, results: tuple[str, bytes], folder: Path) -> list[str]:
            if results[0] == "05":
                raise ValueError("EXIF data is too long")
            return super().write(results, folder)

    found = statuses(run(Odd(), photos, tmp_path / "out"))
    assert {name for name, status in found.items() if status == "failed"} == {"03", "05", "07"}


def test_outputs_that_a_changed_photo_no_longer_has_are_removed(photos: Path, tmp_path: Path) -> None:
    class Fewer(Neighbours):
        def write(self, results: tuple[str, bytes], folder: Path) -> list[str]:
            return super().write(results, folder)[:1]

    out = tmp_path / "out"
    run(Neighbours(), photos, out)
    (photos / "05.jpg").write_bytes(b"another photo")
    run(Fewer(), photos, out)
    assert (out / "05.one").is_file()
    assert not (out / "05.two").exists()


def test_a_photo_that_can_not_be_read_any_more_stops_nothing(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(Neighbours(), photos, out)
    (photos / "05.jpg").unlink()
    (photos / "05.jpg").symlink_to(tmp_path / "gone")
    (photos / "99.jpg").write_bytes(b"new")
    found = statuses(run(Neighbours(), photos, out))
    assert (found["05"], found["99"]) == ("failed", "done")
    assert (out / "05.one").is_file()
