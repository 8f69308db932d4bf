"""Photos with odd names, links, and results among photos."""

import errno
import os
from pathlib import Path

import pytest
from command import files
from neighbours import HEADER, Neighbours, run, statuses

from oodinv.errors import ImageError, ManifestError, OutputError
from oodinv.imaging.files import atomic_write
from oodinv.runs import manifest, runner
from oodinv.runs.collect import collect, look_through
from oodinv.runs.pipeline import read_bytes
from oodinv.runs.runner import Finished


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
    assert [
        event.entry.status for event in list(runner.run(runner.local(Neighbours()), jobs, out, HEADER, chunk=1))[1:]
    ] == ["failed"]


@pytest.mark.parametrize("output", ["", "out", "sub/out"])
def test_an_output_folder_in_the_input_is_refused(tmp_path: Path, output: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"lies in the input.*outside"):
        run(Neighbours(), tmp_path, tmp_path / output)
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


@pytest.mark.parametrize("output", ["a", "a/deeper/out"])
def test_an_output_folder_among_the_results_of_another_run_is_refused(tmp_path: Path, output: str) -> None:
    photos = tmp_path / "photos"
    (photos / "a").mkdir(parents=True)
    (photos / "a/1.jpg").write_bytes(b"x")
    run(Neighbours(), photos, tmp_path / "out")
    before = files(tmp_path / "out")
    assert {Path(name).parts[0] for name in before} == {"a"}
    with pytest.raises(ManifestError, match=r"lies among the results of `oodinv test` in .*out; choose another"):
        run(Neighbours(), photos, tmp_path / "out" / output)
    assert files(tmp_path / "out") == before
    assert set(statuses(run(Neighbours(), photos, tmp_path / "out/further")).values()) == {"done"}


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


def test_a_renamed_photo_leaves_no_results_under_its_old_name(tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for name in ("a.jpg", "a.png", "c.jpg", "gone.jpg"):
        (folder / name).write_bytes(name.encode())
    run(Neighbours(), folder, out)
    (folder / "a.jpg").rename(folder / "b.jpg")
    (folder / "gone.jpg").unlink()
    run(Neighbours(), folder, out)
    assert sorted(path.name for path in out.glob("*.one")) == ["a.one", "b.one", "c.one", "gone.one"]


class InFolders(Neighbours):
    """Writes results into a folder for their kind, as commands do."""

    def write(self, results: tuple[str, bytes], folder: Path) -> list[str]:
        name, content = results
        outputs = [f"{kind}/{name}.png" for kind in ("masks", "composites")]
        for output in outputs:
            atomic_write(folder / output, lambda file: file.write(content))
        return outputs


@pytest.mark.parametrize("obstacle", ["a file in place of a folder", "a folder in place of a file", "no permission"])
def test_a_place_that_can_not_be_written_fails_its_photo_alone(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    (photos / "sub").mkdir()
    (photos / "sub" / "a.jpg").write_bytes(b"x")
    masks = tmp_path / "out" / "masks"
    masks.mkdir(parents=True)
    if obstacle == "a file in place of a folder":
        (masks / "sub").write_bytes(b"in the way")
    elif obstacle == "a folder in place of a file":
        (masks / "sub" / "a.png" / "b").mkdir(parents=True)
    else:
        _forbid(monkeypatch, masks / "sub")
    found = statuses(run(InFolders(), photos, tmp_path / "out"))
    assert found.pop("sub/a") == "failed"
    assert set(found.values()) == {"done"}


def test_a_folder_of_results_that_can_not_be_written_stops_the_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forbid(monkeypatch, tmp_path / "out" / "masks")
    with pytest.raises(OutputError, match=r"masks.*Permission denied"):
        run(InFolders(), photos, tmp_path / "out")


def _forbid(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Refuses new files in a folder, as its permissions do to all but the superuser."""
    plain = os.open

    def guarded(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_RDWR and folder in (Path(path), Path(path).parent):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return plain(path, flags, mode, dir_fd=dir_fd)

    def opened(path: Path, mode: str = "r", **options: object) -> object:
        if "x" in mode and path.parent == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return plain_open(path, mode, **options)

    plain_open = Path.open
    monkeypatch.setattr(os, "open", guarded)
    monkeypatch.setattr(Path, "open", opened)


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


REFUSED = [errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG, errno.ENOENT]


@pytest.mark.parametrize("number", REFUSED)
def test_a_name_that_the_file_system_refuses_fails_that_photo_alone(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As exFAT and NTFS do with colons, and APFS with names that aren't UTF-8. exFAT through FUSE says ENOENT."""
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
