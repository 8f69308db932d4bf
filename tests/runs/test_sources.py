"""Which files become jobs, and under which names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from oodinv.errors import ImageError
from oodinv.runs.collect import RESULT_FOLDERS, _unique_names, collect, look_through
from oodinv.runs.sinks import output_names
from oodinv.runs.sources import SOURCES
from oodinv.runs.sources.base import Found


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(inputs: list[Path], output: Path) -> list[str]:
    return [job.name for job in collect(inputs, output)]


def test_folders_are_searched_in_order_and_other_files_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a.PNG", "sub/deep/c.webp", "notes.txt", ".hidden.jpg")
    assert names([tmp_path], tmp_path.parent / "out") == ["a", "b", "sub/deep/c"]


HIDDEN = [".Trash-1000", ".thumbnails", ".picasaoriginals", "@eaDir", "__MACOSX", "$RECYCLE.BIN", "#recycle",
          "~snapshot", "@sharebin", "Network Trash Folder", "FOUND.000", "found.012"]  # fmt: skip


@pytest.mark.parametrize("folder", HIDDEN)
def test_hidden_and_system_folders_are_not_searched(tmp_path: Path, folder: str) -> None:
    touch(
        tmp_path,
        "in/a.jpg",
        f"in/{folder}/b.jpg",
        f"in/sub/{folder}/files/c.jpg",
        "in/@home/d.jpg",
        "in/found.12/e.jpg",
    )
    assert names([tmp_path / "in"], tmp_path / "out") == ["a", "@home/d", "found.12/e"]


def test_copies_in_libraries_and_caches_of_programs_are_not_searched(tmp_path: Path) -> None:
    library = "in/Photos Library.photoslibrary"
    touch(tmp_path, f"{library}/originals/a.heic", f"{library}/resources/derivatives/b.jpg", "in/resources/c.jpg")
    touch(tmp_path, "in/Old.aplibrary/Thumbnails/d.jpg", "in/Catalog Previews.lrdata/e.jpg", "in/@__thumb/f.jpg")
    touch(tmp_path, "in/_vti_cnf/g.jpg", "in/@SynoEAStream/h.jpg")
    assert names([tmp_path / "in"], tmp_path / "out") == ["Photos Library.photoslibrary/originals/a", "resources/c"]


def test_the_folder_of_a_photo_is_not_its_output(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg")
    with pytest.raises(ImageError, match=r"is that of the photo .*choose another output folder"):
        collect([tmp_path / "in/a.jpg"], tmp_path / "in")
    assert names([tmp_path / "in/a.jpg"], tmp_path / "in/out") == ["a"]


def test_a_hidden_folder_named_as_the_input_is_searched(tmp_path: Path) -> None:
    touch(tmp_path, ".private/a.jpg")
    assert names([tmp_path / ".private"], tmp_path / "out") == ["a"]


def test_files_that_are_left_out_are_counted_by_kind(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/a.json", "in/sub/b.json", "in/LICENSE", "in/.DS_Store")
    (note,) = look_through([tmp_path / "in"], tmp_path / "out").notes
    assert "3 other files were ignored (2 .json, 1 without suffix)" in note


def test_a_raw_file_beside_a_photo_leaves_the_photos_name_as_it_is(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.cr2", "in/a.jpg", "in/a.mp4", "in/a.mp4.jpg")
    jobs = collect([tmp_path / "in"], tmp_path / "out")
    assert [(job.name, job.unsupported is None) for job in jobs] == [
        ("a", True),
        ("a.mp4", True),
        ("a.cr2", False),
        ("a.mp4-2", False),
    ]


def test_a_source_from_outside_is_asked_like_those_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Listing:
        """A text file with a path a line."""

        def accepts(self, entry: Path) -> bool:
            return entry.suffix == ".list"

        def find(self, entry: Path, results: frozenset[Path]) -> Iterator[Found]:  # noqa: ARG002
            return (Found(Path(line), Path(Path(line).name)) for line in entry.read_text().splitlines())

    monkeypatch.setattr("oodinv.runs.collect.SOURCES", (Listing(), *SOURCES))
    touch(tmp_path, "x/a.jpg", "y/b.jpg")
    (tmp_path / "photos.list").write_text(f"{tmp_path}/x/a.jpg\n{tmp_path}/y/b.jpg\n")
    assert names([tmp_path / "photos.list"], tmp_path / "out") == ["a", "b"]


def test_inputs_that_results_would_replace_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "aligned/a.png")
    for entry in (tmp_path / "aligned", tmp_path / "aligned" / "a.png"):
        with pytest.raises(ImageError, match="would be replaced"):
            collect([entry], tmp_path)


def test_thousands_of_equal_names_take_no_time() -> None:
    paths = [Path(f"{n % 2}.jpg") for n in range(20_000)]
    assert len(set(_unique_names(paths))) == len(paths)


def test_an_overlong_name_is_an_error_with_the_name(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="nnn"):
        collect([Path("n" * 300 + ".jpg")], tmp_path)


def test_a_file_named_on_its_own_is_an_input_whatever_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "portrait.xyz")
    assert names([tmp_path / "portrait.xyz"], tmp_path / "out") == ["portrait"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.jpg", "a.png"], ["a.jpg", "a.png"]),
        (["A.jpg", "a.png"], ["A.jpg", "a.png"]),
        (["a.jpg", "a.0.jpg"], ["a.0.jpg", "a"]),
    ],
)
def test_names_that_would_collide_stay_apart(tmp_path: Path, files: list[str], expected: list[str]) -> None:
    touch(tmp_path, *files)
    found = names([tmp_path], tmp_path.parent / "out")
    assert sorted(found) == sorted(expected)


def test_the_same_name_from_two_folders_stays_apart(tmp_path: Path) -> None:
    touch(tmp_path, "one/a.jpg", "two/a.jpg")
    found = names([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    assert len(set(found)) == 2


def test_an_input_given_twice_is_one_job(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    assert names([tmp_path / "a.jpg", tmp_path / "a.jpg"], tmp_path / "out") == ["a"]


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert names([tmp_path], tmp_path.parent / "out") == ["a"]


def test_missing_and_empty_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="nowhere"):
        collect([tmp_path / "nowhere"], tmp_path / "out")
    with pytest.raises(ImageError, match="no picture"):
        collect([tmp_path], tmp_path / "../out")


def test_result_folders_are_those_that_are_written() -> None:
    written = {"aligned", "latents", "flows", "masks", "generated", "composites", "pasted"}
    assert set(RESULT_FOLDERS) == {*written, *output_names(), "inversion", "unedited", "strips"}
