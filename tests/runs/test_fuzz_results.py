"""Manifests and arrays of a results folder that somebody damaged: read or refused."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from altered import DAMAGED, altered, archived, fuzz, values
from fuzz import saved_array
from hypothesis import given
from hypothesis import strategies as st

from oodinv.errors import ImageError, ManifestError
from oodinv.runs import manifest
from oodinv.runs import results as saved_results
from oodinv.runs.manifest import Entry, Header
from oodinv.runs.results import read_arrays

HEADER = Header("1", "test", {"name": "x"}, {}, {"seed": 1})
ENTRIES = [Entry(f"in/{n}.jpg", f"{n}", "0" * 64, "done", [f"a/{n}.png"]) for n in range(3)]
LINES = [(manifest._line(HEADER) + manifest._line(entry)).encode() for entry in ENTRIES]


@fuzz
@given(st.one_of(altered(LINES), st.binary(max_size=60)), st.dictionaries(st.text(max_size=8), values, max_size=4))
def test_any_bytes_are_a_manifest_or_a_manifest_error(tmp_path: Path, content: bytes, extra: dict[str, object]) -> None:
    line = yaml.safe_dump(extra, default_flow_style=True, allow_unicode=False).encode(errors="surrogatepass")
    (tmp_path / manifest.FILE_NAME).write_bytes(content + b"\n" + line)
    try:
        found = manifest.read(tmp_path)
    except ManifestError as error:
        assert manifest.FILE_NAME in str(error)  # noqa: PT017
        return
    for entry in found[1].values() if found else ():
        manifest.difference(found[0], HEADER)
        for output in entry.outputs:
            (tmp_path / output).is_file()
            assert (tmp_path / output).resolve().is_relative_to(tmp_path.resolve())


@fuzz
@given(altered([archived(zipfile.ZIP_STORED), archived(zipfile.ZIP_DEFLATED)]))
def test_any_bytes_are_arrays_or_an_image_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.npz"
    path.write_bytes(content)
    try:
        read_arrays(path, "oodinv invert")
    except ImageError as error:
        assert "odd.npz" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "content", [saved_array(np.zeros(3, np.float32)), pickle.dumps({"w_plus": 1}), *DAMAGED.values()],
    ids=["npy", "pickle", *DAMAGED],
)  # fmt: skip
def test_arrays_in_another_form_are_an_image_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.npz").write_bytes(content)
    with pytest.raises(ImageError, match=r"odd\.npz: is damaged"):
        read_arrays(tmp_path / "odd.npz", "oodinv invert")


def test_arrays_that_unfold_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the archive's own list, before anything is unfolded."""
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, w_plus=np.zeros(1 << 18, np.float32))
    assert read_arrays(path, "oodinv invert")["w_plus"].size == 1 << 18
    monkeypatch.setattr(saved_results, "MAX_ARRAY_BYTES", 1 << 20)
    with pytest.raises(ImageError, match=r"bomb\.npz: expands to more than 1 MiB"):
        read_arrays(path, "oodinv invert")
