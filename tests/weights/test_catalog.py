"""The catalog of weights: complete, unique, and its cache."""

import re
from pathlib import Path

import pytest

from oodinv.errors import MissingWeights
from oodinv.weights.catalog import ROWS, by_file, by_sha256, named
from oodinv.weights.origins import HttpsFile, PackageFile, UserFile
from oodinv.weights.pull import cache_dir, find, pull


def test_every_row_is_complete_and_unique() -> None:
    assert len({row.name for row in ROWS}) == len({row.file for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.licence
        assert row.purpose
        assert named(row.name) is row
        assert by_file(row.file) is row
        match row.origin:
            case UserFile(page=page):
                assert page.startswith("https://")
                assert row.sha256 is None
            case PackageFile() | HttpsFile():
                assert re.fullmatch(r"[0-9a-f]{64}", row.sha256 or "")
                assert by_sha256(row.sha256 or "") is row
                assert row.size
                mirror = row.origin.mirror if isinstance(row.origin, PackageFile) else None
                assert mirror is None or (mirror.startswith("https://") and mirror.endswith(row.file))


def test_a_name_that_is_not_in_the_catalog() -> None:
    with pytest.raises(MissingWeights, match=r"there are yunet, sface"):
        pull("yunett")


def test_a_file_for_the_user_to_get_names_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OODINV_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"e4e_ffhq_encode\.pt from https://github\.com/omertov"):
        pull("e4e-ffhq")
    assert find("e4e-ffhq") is None
    (tmp_path / "e4e_ffhq_encode.pt").write_bytes(b"x")
    assert pull("e4e-ffhq") == find("e4e-ffhq") == tmp_path / "e4e_ffhq_encode.pt"


def test_the_cache_is_in_the_users_cache_folder_unless_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("OODINV_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == Path("/home/someone/.cache/oodinv")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_dir() == Path("/caches/oodinv")
    monkeypatch.setenv("OODINV_CACHE", "/mine")
    assert cache_dir() == Path("/mine")
