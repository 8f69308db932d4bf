"""Directions and codes in the formats of other projects."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oodinv.directions import Direction, files
from oodinv.directions.codes import read_codes
from oodinv.directions.foreign import ModelShape, import_file
from oodinv.errors import MissingWeights, OodinvError, UnknownLayout, WeightsError

FFHQ = ModelShape("ffhq-e4e", 18, 512)


@pytest.mark.parametrize("name", ["e4e_age.pt", "e4e_smile.pt", "e4e_pose.pt", "sfe_Eyeglasses.npy",
                                  "sfe_Heavy_Makeup.npy", "sfe_Smiling.npy"])  # fmt: skip
def test_published_directions_are_imported(shared: Path, name: str) -> None:
    path = shared / "directions" / name
    (found,) = import_file(path, FFHQ)
    raw = np.load(path) if path.suffix == ".npy" else torch.load(path, map_location="cpu", weights_only=True).numpy()
    expected = np.broadcast_to(raw, (18, 512)) if raw.size == 512 else raw.reshape(18, 512)
    np.testing.assert_array_equal(found.vector.numpy(), expected.astype(np.float32))


def test_published_components_are_imported(shared: Path) -> None:
    path = shared / "directions" / "e4e_ganspace_ffhq_pca.pt"
    raw = torch.load(path, map_location="cpu", weights_only=True)
    found = import_file(path, FFHQ)
    assert len(found) == 80
    torch.testing.assert_close(found[7].vector, (raw["comp"][7] * raw["std"][7]).expand(18, 512))
    assert [d.name for d in import_file(path, FFHQ, [3])] == ["e4e_ganspace_ffhq_pca-03"]
    with pytest.raises(WeightsError, match="there is no 80"):
        import_file(path, FFHQ, [80])


def test_published_codes_are_read(shared: Path) -> None:
    path = shared / "directions" / "styleclip_ffhq_w_plus_68.npy"
    with pytest.raises(WeightsError, match="latent codes of 68 people"):
        import_file(path, FFHQ)
    np.testing.assert_array_equal(read_codes(path, FFHQ).numpy(), np.load(path).astype(np.float32))


@pytest.mark.parametrize("shape", [(4, 3), (1, 4, 3), (12,), (1, 12), (3,), (1, 3), (1, 1, 3), (6, 3), (18,)])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt"])
def test_a_single_code_is_read_in_every_shape(shape: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    target, path = ModelShape("m", 4, 3, spare_rows=2), tmp_path / f"code{suffix}"
    code = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    match suffix:
        case ".npy":
            np.save(path, code)
        case ".npz":
            np.savez(path, w_plus=code)
        case ".pt":
            torch.save(torch.from_numpy(code), path)
    found = read_codes(path, target).numpy()
    assert found.dtype == np.float32
    expected = np.tile(code.reshape(1, 3), (4, 1)) if code.size == 3 else code.reshape(-1, 3)[:4]
    np.testing.assert_array_equal(found, expected[None])


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 12), (5, 3), (5, 1, 3), (5, 6, 3), (5, 18)])
def test_several_codes_are_read_in_every_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "codes.npy", np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    found = read_codes(tmp_path / "codes.npy", ModelShape("m", 4, 3, spare_rows=2))
    assert found.shape == (5, 4, 3)
    assert float(found[1, 0, 0]) == np.prod(shape[1:])


@pytest.mark.parametrize("shape", [(4, 5), (5,), (2, 5, 3), (0, 4, 3), (), (1, 1, 4, 3)])
def test_other_arrays_are_no_codes(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "codes.npy", np.zeros(shape, np.float32))
    with pytest.raises(UnknownLayout, match=r"codes\.npy.*one latent code \(4, 3\)"):
        read_codes(tmp_path / "codes.npy", ModelShape("m", 4, 3))


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([(2,), (1, 2), (1, 1, 2), (4, 2), (1, 4, 2), (4, 1, 2), (8,), (1, 8)]),
    st.sampled_from([np.float16, np.float32, np.float64, np.dtype(">f8")]),
    st.sampled_from(["npy", "fortran", "npz", "compressed", "pkl", "pt", "dict", "safetensors"]),
)
def test_every_published_shape_is_read_from_every_container(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], dtype: np.dtype, form: str
) -> None:
    values = np.arange(1, 1 + np.prod(shape)).reshape(shape).astype(dtype)
    native = torch.from_numpy(values.astype(values.dtype.newbyteorder("=")))
    path = tmp_path_factory.mktemp("forms") / "d.bin"
    with path.open("wb") as file:
        match form:
            case "npy" | "fortran":
                np.save(file, values if form == "npy" else np.asfortranarray(values))
            case "npz":
                np.savez(file, values)
            case "compressed":
                np.savez_compressed(file, boundary=values)
            case "pkl":
                pickle.dump(values.astype(values.dtype.newbyteorder("=")), file)
            case "pt" | "dict":
                torch.save(native if form == "pt" else {"direction": native, "note": "older"}, file)
            case "safetensors":
                import safetensors.torch

                file.write(safetensors.torch.save({"direction": native.contiguous()}))
    (found,) = import_file(path, ModelShape("m", 4, 2))
    rows = values.reshape(-1, 2).astype(np.float32)
    np.testing.assert_array_equal(found.vector.numpy(), np.broadcast_to(rows, (4, 2)))
    assert found.vector.dtype == torch.float32


def test_boundaries_of_single_layers_are_imported(tmp_path: Path) -> None:
    torch.save({"layer_1": torch.ones(1, 2), "layer_3": torch.full((2,), 2.0)}, tmp_path / "b.pt")
    (found,) = import_file(tmp_path / "b.pt", ModelShape("m", 4, 2))
    assert found.layers == (1, 3)
    assert found.vector.tolist() == [[0, 0], [1, 1], [0, 0], [2, 2]]
    torch.save([torch.full((1, 2), float(i)) for i in range(4)], tmp_path / "l.pt")
    (found,) = import_file(tmp_path / "l.pt", ModelShape("m", 4, 2))
    assert found.vector[:, 0].tolist() == [0, 1, 2, 3]
    torch.save({"age": torch.ones(2), "smile": torch.ones(4, 2)}, tmp_path / "n.pt")
    assert [d.name for d in import_file(tmp_path / "n.pt", ModelShape("m", 4, 2))] == ["age", "smile"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.ones(3), "another model"),
        (torch.ones(3, 2), "3 vectors"),
        (torch.ones(5, 4, 2), "codes of 5 people"),
        (torch.ones(2, dtype=torch.int64), "floating-point"),
        (torch.zeros(2), "zero everywhere"),
        (torch.tensor([1.0, float("inf")]), "not finite"),
        ({"layer_9": torch.ones(2)}, "layer 9"),
        ({"comp": torch.ones(3, 1, 2), "std": torch.ones(2)}, "3 components and 2"),
        ({"note": "nothing"}, "expected a direction"),
    ],
)
def test_other_contents_are_rejected_with_the_reason(tmp_path: Path, value: object, says: str) -> None:
    torch.save(value, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=says) as caught:
        import_file(tmp_path / "x.pt", ModelShape("m", 4, 2))
    assert "x.pt" in str(caught.value)


class _Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", ["pkl", "npy", "npz", "pt", "legacy"])
def test_hostile_files_are_rejected_and_execute_nothing(tmp_path: Path, form: str) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil"
    hostile = _Hostile(trace)
    with path.open("wb") as file:
        match form:
            case "pkl":
                pickle.dump({"d": hostile}, file)
            case "npy":
                np.save(file, np.array([hostile], dtype=object), allow_pickle=True)
            case "npz":
                np.savez(file, d=np.array([hostile], dtype=object))
            case _:
                torch.save({"d": hostile}, file, _use_new_zipfile_serialization=form == "pt")
    with pytest.raises(WeightsError, match="refused"):
        import_file(path, ModelShape("m", 4, 2))
    assert not trace.exists()


def test_missing_truncated_and_inconsistent_files_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="no such file"):
        import_file(tmp_path / "none.npy", FFHQ)
    np.save(tmp_path / "a.npy", np.ones((18, 512)))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-9])
    with pytest.raises(WeightsError, match=r"a\.npy"):
        import_file(tmp_path / "a.npy", FFHQ)
    huge = content.replace(b"(18, 512)", b"(1 << 40)").replace(b"(1 << 40)", b"(9999999,")
    for cut in (8, 60, len(content) // 2):
        (tmp_path / "a.npy").write_bytes(huge[:cut])
        with pytest.raises(OodinvError):
            import_file(tmp_path / "a.npy", FFHQ)


@pytest.mark.parametrize("form", ["rows", "flat", "by layer", "own"])
def test_the_last_rows_of_a_stylegan2_direction_are_left_out_for_a_generator_that_has_fewer(
    form: str, tmp_path: Path
) -> None:
    """As MobileStyleGAN does, which was distilled from it: 16 of 18 rows."""
    target = ModelShape("mobile", 4, 2, spare_rows=2)
    vector = torch.arange(12.0).reshape(6, 2)
    path = tmp_path / "d.pt"
    if form == "by layer":
        torch.save({f"layer_{row}": vector[row] for row in range(6)}, path)
    elif form == "own":
        path = tmp_path / "d.safetensors"
        files.write(path, Direction(name="d", model="teacher", vector=vector, layers=(0, 5), unit="one"))
    else:
        torch.save(vector if form == "rows" else vector.reshape(1, -1), path)
    (found,) = import_file(path, target)
    assert torch.equal(found.vector, vector[:4])
    assert found.layers == ((0,) if form == "own" else None)
    with pytest.raises(UnknownLayout):
        import_file(path, ModelShape("other", 4, 2))
