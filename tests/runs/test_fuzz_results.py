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
from oodinv.faces.parts import PARTS
from oodinv.runs import manifest
from oodinv.runs import results as saved_results
from oodinv.runs.manifest import Entry, Header
from oodinv.runs.results import read_arrays, read_flows

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


GOOD_FLOWS = {
    "flow_8": np.zeros((2, 8, 8), np.float32),
    "mask_8": np.zeros((1, 8, 8), np.float32),
    "mask": np.zeros((32, 32), np.float16),
    "unedited_mask": np.zeros((32, 32), np.float16),
    "motion": np.zeros((2, 16, 16), np.float16),
    "turn": np.zeros((2, 4, 4), np.float16),
    "parts": np.full((16, 16), len(PARTS) - 1, np.uint8),
    "note": np.zeros(5),
}


def test_flows_of_the_shapes_that_their_keys_stand_for_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **GOOD_FLOWS)  # type: ignore[arg-type]
    found = read_flows(tmp_path / "x.npz", "oodinv invert", {"flow_8", "parts"})
    assert {key: (array.shape, array.dtype) for key, array in found.items()} == {
        key: (array.shape, array.dtype) for key, array in GOOD_FLOWS.items()
    }


@pytest.mark.parametrize(
    ("key", "array", "says"),
    [
        ("parts", np.zeros((16, 15), np.uint8), r"expected parts as uint8 \(15, 15\), found uint8 \(16, 15\)"),
        ("parts", np.zeros((1, 16, 16), np.uint8), r"expected parts as uint8 \(16, 16\)"),
        ("parts", np.zeros((0, 0), np.uint8), "expected parts as uint8"),
        ("parts", np.uint8(3), "expected parts as uint8"),
        ("parts", np.zeros((16, 16), np.float32), r"expected parts as uint8 \(16, 16\), found float32"),
        ("parts", np.full((16, 16), len(PARTS), np.uint8), f"indices up to {len(PARTS) - 1} in parts, found 15"),
        ("mask", np.zeros((32, 32), np.uint8), r"expected mask as floats \(32, 32\), found uint8"),
        ("mask", np.zeros((1, 32, 32), np.float16), r"expected mask as floats \(32, 32\)"),
        ("unedited_mask", np.zeros(32, np.float16), r"expected unedited_mask as floats \(32, 32\)"),
        ("flow_8", np.zeros((2, 4, 4), np.float32), r"expected flow_8 as floats \(2, 8, 8\)"),
        ("mask_8", np.zeros((2, 8, 8), np.float32), r"expected mask_8 as floats \(1, 8, 8\)"),
        ("motion", np.zeros((16, 16, 2), np.float16), r"expected motion as floats \(2, 2, 2\)"),
        ("turn", np.zeros((2, 4, 5), np.float16), r"expected turn as floats \(2, 5, 5\)"),
    ],
)
def test_flows_of_another_shape_type_or_range_are_refused_by_name(
    tmp_path: Path, key: str, array: np.ndarray, says: str
) -> None:
    np.savez(tmp_path / "odd.npz", **(GOOD_FLOWS | {key: array}))  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=rf"odd\.npz: .*{says}.*run `oodinv invert` again"):
        read_flows(tmp_path / "odd.npz", "oodinv invert")


def test_flows_that_a_model_needs_and_a_file_lacks_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **GOOD_FLOWS)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match=r"x\.npz: has no flow_16, mask_16; run `oodinv invert` again"):
        read_flows(tmp_path / "x.npz", "oodinv invert", {"flow_16", "mask_16", "flow_8"})
