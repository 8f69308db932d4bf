"""Manifests that somebody altered: no line breaks a run or reaches outside its folder."""

import json
from pathlib import Path

import pytest
from neighbours import Neighbours, files, run, statuses

from oodinv.errors import ManifestError
from oodinv.runs import manifest


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
