"""Directions: fits to synthetic faces, foreign files, units, discovery, and direction files."""

import hashlib
import json
import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command import call, call_here
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import FLOAT32, FLOAT32_DEEP, FLOAT64

from oodinv import DEFAULT_MODEL, directions
from oodinv.directions import Direction, files, labels, measures, regress
from oodinv.directions.codes import read_codes
from oodinv.directions.discover import factorise, ganspace, sefa, style_weights
from oodinv.directions.faces import MeasuredFaces
from oodinv.directions.fit import fit, score_labels
from oodinv.directions.foreign import ModelShape, import_file
from oodinv.errors import MissingWeights, OodinvError, RecipeError, UnknownLayout, WeightsError
from oodinv.imaging.encode import write_png
from oodinv.imaging.files import write_npz
from oodinv.models.generators.stylegan2 import StyleGAN2
from oodinv.recipe.card import find_card, read_card
from oodinv.recipe.directions import DirectionSpec, find_fit_recipe
from oodinv.runs import manifest
from oodinv.weights.build import find_files, load_named
from oodinv.weights.checksum import sha256_file
from oodinv.workflows.encode import read_inverted

NUM_WS, W_DIM = 4, 12
FFHQ = ModelShape("ffhq-e4e", 18, 512)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a.ravel() @ b.ravel() / np.linalg.norm(a) / np.linalg.norm(b))


def planted(
    count: int = 3000, together: float = 0.0, noise: float = 0.3
) -> tuple[MeasuredFaces, labels.Labels, np.ndarray]:
    """Synthetic faces with `age` along axis 0 and `sex` along axis 1 of their codes; together: their correlation."""
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.standard_normal((NUM_WS * W_DIM, 2)))[0].T
    age = rng.standard_normal(count)
    sex = (together * age + np.sqrt(1 - together**2) * rng.standard_normal(count) > 0).astype(float)
    codes = noise * rng.standard_normal((count, NUM_WS * W_DIM)) + np.outer(age, axes[0]) + np.outer(sex * 2, axes[1])
    shape = (NUM_WS, W_DIM)
    faces = MeasuredFaces(
        files=tuple(f"{i}.jpg" for i in range(count)),
        w_plus=codes.reshape(count, *shape).astype(np.float32),
        measures={},
        held_out=np.arange(count) % 10 == 0,
    )
    return faces, {"age": 40 + 15 * age, "sex": sex}, axes.reshape(2, *shape)


def fitted(faces: MeasuredFaces, table: labels.Labels, **wanted: object) -> directions.Direction:
    return fit(faces, table, DirectionSpec(name="d", source="s", **wanted), (), "m").direction  # type: ignore[arg-type]


# --- fitting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("attribute", "axis"), [("age", 0), ("sex", 1)])
def test_the_direction_of_synthetic_faces_is_recovered(attribute: str, axis: int) -> None:
    faces, table, axes = planted()
    assert cosine(fitted(faces, table, attribute=attribute).vector.numpy(), axes[axis]) > 0.98


def test_conditions_remove_correlated_attributes() -> None:
    faces, table, axes = planted(together=0.8)
    free = fitted(faces, table, attribute="age").vector.numpy()
    held = fitted(faces, table, attribute="age", conditions=("sex",)).vector.numpy()
    assert abs(cosine(free, axes[1])) > 0.3
    assert abs(cosine(held, axes[1])) < 0.05
    assert cosine(held, axes[0]) > 0.98


def test_the_score_of_another_fit_serves_as_a_condition() -> None:
    faces, table, axes = planted(together=0.8)
    known = fit(faces, table, DirectionSpec(name="sex", source="s", attribute="sex"), (), "tiny")
    told = table | score_labels(known, faces)
    held = fitted(faces, told, attribute="age", conditions=("predicted_sex",)).vector.numpy()
    assert abs(cosine(held, axes[1])) < 0.15
    assert cosine(held, axes[0]) > 0.97


def test_partial_effect_equals_least_squares_with_all_columns() -> None:
    rng = np.random.default_rng(0)
    codes, columns = rng.standard_normal((50, 7)), rng.standard_normal((50, 4))
    whole = np.linalg.lstsq(np.column_stack([columns, np.ones(50)]), codes, rcond=None)[0]
    np.testing.assert_allclose(regress.partial_effect(codes, columns[:, 0], columns[:, 1:]), whole[0], atol=FLOAT64)


def test_strength_one_is_one_standard_deviation() -> None:
    """If codes determine the label exactly, strength 1 changes it by the label's own standard deviation."""
    faces, table, axes = planted(noise=1e-3)
    train = ~faces.held_out
    moved = fitted(faces, table, attribute="age").vector.numpy()
    years = float((moved * axes[0]).sum()) * 15
    assert years == pytest.approx(table["age"][train].std(), rel=0.01)


def test_the_safe_range_is_from_the_1st_to_the_99th_percentile() -> None:
    faces, table, _ = planted(noise=1e-3)
    train = ~faces.held_out
    places = (table["age"][train] - table["age"][train].mean()) / table["age"][train].std()
    low, high = fitted(faces, table, attribute="age").safe_range or (0, 0)
    assert (low, high) == pytest.approx(tuple(np.percentile(places, (1, 99))), abs=0.03)


def test_only_chosen_layers_change_and_the_unit_stays() -> None:
    faces, table, axes = planted(noise=1e-3)
    whole = fitted(faces, table, attribute="age")
    part = fitted(faces, table, attribute="age", layers=[0, 2])
    assert part.layers == (0, 2)
    assert not part.vector[[1, 3]].any()
    rise = [float((d.delta(1).numpy() * axes[0]).sum()) for d in (whole, part)]
    assert rise[1] > 0


def test_quality_is_measured_on_held_out_faces() -> None:
    faces, table, _ = planted(noise=1e-3)
    wanted = DirectionSpec(name="d", source="s", attribute="age")
    assert fit(faces, table, wanted, (), "m").quality > 0.99
    shuffled = {"age": np.where(faces.held_out, np.random.default_rng(3).permutation(table["age"]), table["age"])}
    assert fit(faces, shuffled, wanted, (), "m").quality < 0.1


@pytest.mark.parametrize(
    ("table", "wanted", "says"),
    [
        ({"a": np.ones(3000)}, {"attribute": "a"}, "same value for all"),
        ({"a": np.full(3000, np.nan)}, {"attribute": "a"}, "only 0 faces"),
        ({}, {"attribute": "a"}, "no label a"),
        (
            {"a": np.arange(3000.0), "b": np.arange(3000.0) * 2},
            {"attribute": "a", "conditions": ("b",)},
            "does not vary",
        ),
        ({"a": np.arange(3000.0)}, {"attribute": "a", "layers": [9]}, "no layer 9"),
        ({"a": np.arange(3000.0)}, {"attribute": "a", "regression": "logistic"}, "two values"),
    ],
)
def test_impossible_fits_are_rejected_with_a_reason(table: labels.Labels, wanted: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        fitted(planted()[0], table, **wanted)


def test_newton_reaches_the_minimum_of_the_logistic_loss() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((400, 3))
    y = (x @ [1.0, -2.0, 0.5] + rng.logistic(size=400) > 0).astype(float)
    weights, offset = regress.logistic(x, y, 0.01)
    tensor = torch.tensor([*weights, offset], dtype=torch.float64, requires_grad=True)
    logits = torch.from_numpy(x) @ tensor[:3] + tensor[3]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(y))
    (loss + 0.005 * tensor[:3].square().sum()).backward()
    assert tensor.grad is not None
    assert tensor.grad.abs().max() < 1e-6


def test_a_fit_without_scikit_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(OodinvError, match=r"needs scikit-learn.*oodinv\[fit\]"):
        regress.ridge(np.zeros((2, 1)), np.zeros(2), 0.1)


def test_ridge_solves_its_normal_equations() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((80, 5)), rng.standard_normal(80)
    stacked = np.vstack([x - x.mean(axis=0), np.sqrt(80 * 0.1) * np.eye(5)])
    expected = np.linalg.lstsq(stacked, np.append(y - y.mean(), np.zeros(5)), rcond=None)[0]
    np.testing.assert_allclose(regress.ridge(x, y, 0.1)[0], expected, atol=FLOAT64)


def test_principal_components_are_eigenvectors_of_the_covariance() -> None:
    rng = np.random.default_rng(4)
    codes = rng.standard_normal((300, 20)) * np.linspace(3, 0.1, 20)
    found = regress.principal_components(codes, 3)
    values, vectors = np.linalg.eigh(np.cov(codes.T, bias=True))
    np.testing.assert_allclose(found.deviations**2, values[::-1][:3], rtol=1e-6)
    np.testing.assert_allclose(np.abs(found.basis.T @ vectors[:, ::-1][:, :3]), np.eye(3), atol=FLOAT32_DEEP)


def test_discrimination_is_the_fraction_of_ordered_pairs() -> None:
    score, truth = np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1])
    assert regress.discrimination(score, truth) == (0.5 + 1 + 1 + 1) / 4


# --- labels ----------------------------------------------------------------------------------------------


def test_labels_are_read_from_names_and_csv(tmp_path: Path) -> None:
    files = ("34_1_0_2017.jpg", "sub/9_0_2_2016.jpg", "odd.jpg")
    named = labels.from_names("age_sex", files)
    np.testing.assert_array_equal(named["age"], [34, 9, np.nan])
    np.testing.assert_array_equal(labels.from_names("-_sex", files)["sex"], [1, 0, np.nan])
    (tmp_path / "l.csv").write_text("file,glasses\n9_0_2_2016.jpg,1\n34_1_0_2017.jpg,\n")
    np.testing.assert_array_equal(labels.from_csv(tmp_path / "l.csv", files)["glasses"], [np.nan, 1, np.nan])


@pytest.mark.parametrize("text", ["", "file\na.jpg\n", "name,x\na.jpg,1\n", "file,x\na.jpg,red\n",
                                  "file,x\na.jpg,nan\n", "file,x\na.jpg\n", "file,x\na.jpg,1\na.jpg,2\n",
                                  "file,x\nother.jpg,1\n"])  # fmt: skip
def test_a_bad_table_is_rejected_with_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(RecipeError, match=r"l\.csv"):
        labels.from_csv(tmp_path / "l.csv", ("a.jpg",))


def test_measures_of_points_are_invariant_to_position_and_size() -> None:
    points = np.array([[0, 0], [10, 0], [6, 5], [1, 10], [9, 10]], dtype=float)
    found = measures.of_points(points)
    assert found == pytest.approx({"yaw": 0.1, "turn": 0.1, "smile": 0.8})
    turned = points @ np.array([[0, 3], [-3, 0]]) + 7  # a quarter turn, three times as large
    assert measures.of_points(turned) == pytest.approx(found)
    mirrored = (points * (-1, 1))[[1, 0, 2, 4, 3]]
    assert measures.of_points(mirrored)["yaw"] == pytest.approx(-0.1)


def test_brightness_is_measured_in_the_documented_regions() -> None:
    crop = np.zeros((100, 100, 3), np.uint8)
    crop[9:17, 40:60] = 255
    assert measures.of_crop(crop, 1.0)["hair"] > 0.6
    assert measures.of_crop(crop, 1.0)["light"] == measures.of_crop(crop, 1.0)["background"] == 0


# --- files -----------------------------------------------------------------------------------------------

SAMPLE = Direction(
    "age", "mini", torch.arange(8.0).reshape(4, 2), (1, 3), "15 years", (-2.0, 2.5), "age", "older", "fit"
)


def test_a_written_direction_is_read_unchanged(tmp_path: Path) -> None:
    directions.write(tmp_path / "d.safetensors", SAMPLE)
    again = directions.read(tmp_path / "d.safetensors")
    assert torch.equal(again.vector, SAMPLE.vector)
    assert replace(again, vector=SAMPLE.vector).__dict__ == SAMPLE.__dict__


def test_delta_and_safe_range_of_a_direction() -> None:
    assert SAMPLE.delta(-2).tolist() == [[0, 0], [-4, -6], [0, 0], [-12, -14]]
    assert [SAMPLE.outside(s) for s in (-2.1, -2, 0, 2.5, 2.6)] == [True, False, False, False, True]
    assert not replace(SAMPLE, safe_range=None).outside(1e9)


@pytest.mark.parametrize(
    "change", [{"layers": (4,)}, {"layers": ()}, {"layers": (1, 1)}, {"safe_range": (1.0, 1.0)}, {"name": "a/b"},
               {"vector": torch.full((4, 2), float("nan"))}, {"vector": torch.zeros(4)}]
)  # fmt: skip
def test_invalid_directions_are_not_written(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=r"d\.safetensors"):
        directions.write(tmp_path / "d.safetensors", replace(SAMPLE, **change))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_find_looks_beside_the_recipe_and_checks_the_model(tmp_path: Path, tiny_card: Path) -> None:
    card = read_card(tiny_card)
    directions.write(tmp_path / "age.safetensors", replace(SAMPLE, model="tiny"))
    assert directions.find("age", card, 4, 2, tmp_path).name == "age"
    with pytest.raises(RecipeError, match="made for other weights"):
        directions.find("age", card, 8, 16, tmp_path)
    directions.write(tmp_path / "age.safetensors", SAMPLE)
    with pytest.raises(RecipeError, match=r"of the model mini, not of tiny.*import"):
        directions.find("age.safetensors", card, 4, 2, tmp_path)
    with pytest.raises(RecipeError, match="no direction other"):
        directions.find("other", card, 4, 2, tmp_path)
    np.save(tmp_path / "plain.npy", np.ones((1, 2)))
    assert directions.find("plain.npy", card, 4, 2, tmp_path).vector.tolist() == [[1, 1]] * 4


# --- foreign files ---------------------------------------------------------------------------------------


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


def test_a_single_code_becomes_a_latent_by_command(tmp_path: Path) -> None:
    code = np.random.default_rng(0).standard_normal((16, 512)).astype(np.float32)
    np.save(tmp_path / "anna.npy", code)
    done = call_here("directions", "import", "--codes", tmp_path / "anna.npy", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "latents" / "anna.000.npz")["w_plus"], code)


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


# --- discovery -------------------------------------------------------------------------------------------


def generator() -> StyleGAN2:
    torch.manual_seed(0)
    return StyleGAN2(16, {4: 8, 8: 6, 16: 4}, w_dim=5, z_dim=5, mapping_layers=2)


def test_sefa_returns_the_eigenvectors() -> None:
    weights = style_weights(generator(), (0, 1, 2)).double().numpy()
    values, vectors = np.linalg.eig(weights.T @ weights)
    order = np.argsort(-values)
    found = factorise(torch.from_numpy(weights), 3).numpy()
    np.testing.assert_allclose(np.abs(found @ vectors[:, order[:3]]), np.eye(3), atol=FLOAT32)
    changes = np.linalg.norm(weights @ found.T, axis=0)
    np.testing.assert_allclose(changes**2, values[order[:3]], rtol=FLOAT32_DEEP)


def test_each_row_of_w_plus_is_paired_with_its_affine_layers() -> None:
    from oodinv.models.layers import EqualLinear
    from oodinv.models.synthesis import synthesize

    g = generator()
    readers: dict[int, list[torch.Tensor]] = {}
    for name, layer in g.named_modules():
        if isinstance(layer, EqualLinear) and name.endswith("affine"):
            layer.register_forward_pre_hook(
                lambda layer, args: readers.setdefault(args[0].data_ptr(), []).append(layer.weight * layer.gain)
            )
    w_plus = torch.randn(1, g.num_ws, 5)
    synthesize(g, w_plus)
    for row in range(g.num_ws):
        convolution_first = readers[w_plus[:, row].data_ptr()][-1]  # the colour layer shares a row with the next block
        torch.testing.assert_close(g.style_weights(row), convolution_first)


def test_sefa_on_layers_has_the_unit_of_codes() -> None:
    g = generator()
    codes = torch.randn(500, g.num_ws, 5)
    first, *_ = sefa(g, "m", (1, 2), 2, codes)
    assert not first.vector[[0, 3, 4, 5]].any()
    unit = first.vector[1] / first.vector[1].norm()
    assert float(first.vector[1].norm()) == pytest.approx(float((codes[:, [1, 2]].mean(1) @ unit).std()), rel=1e-4)


def test_ganspace_units_are_standard_deviations() -> None:
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((400, 3, 4)) * np.array([3.0, 1, 0.5, 0.2])
    first, *_ = ganspace(codes, "m", None, 3, 3)
    values = np.linalg.eigvalsh(np.cov(codes.reshape(400, -1).T, bias=True))
    assert float(first.vector.norm()) ** 2 == pytest.approx(values[-1], rel=1e-3)


# --- commands --------------------------------------------------------------------------------------------


def test_files_of_the_commands_are_listed(tmp_path: Path, tiny_card: Path) -> None:
    found = call(
        "directions", "discover", "sefa", "--model", tiny_card, "-o", tmp_path, "--count", "2", "--layers", "0-2"
    )
    assert found.returncode == 0, found.stderr
    np.save(tmp_path / "in.npy", np.ones(16))
    made = call("directions", "import", tmp_path / "in.npy", tmp_path / "no.npy", "--model", tiny_card,
                "-o", tmp_path / "older.safetensors", "--scale", "-2", "--json")  # fmt: skip
    assert made.returncode == 1
    assert "no.npy" in made.stderr
    assert json.loads(made.stdout)["results"][0]["shape"] == [8, 16]
    assert torch.equal(directions.read(tmp_path / "older.safetensors").vector, torch.full((8, 16), -2.0))
    listed = call("directions", "list", *sorted(tmp_path.glob("*.safetensors")), "--json")
    assert [d["name"] for d in json.loads(listed.stdout)["directions"]] == ["older", "sefa-00", "sefa-01"]


def inverted(folder: Path, card_path: Path, count: int) -> np.ndarray:
    """Writes the parts of an `invert` output that fitting reads, with codes along one axis. Returns their positions."""
    card = read_card(card_path)
    files, _ = find_files(card, card_path)
    weights: dict[str, str] = {role: sha256_file(file) for role, file in files.items()}
    rng = np.random.default_rng(5)
    places = rng.standard_normal(count)
    entries = []
    for i, place in enumerate(places):
        w_plus = 0.01 * rng.standard_normal((8, 16)).astype(np.float32)
        w_plus[2, 3] += place
        write_npz(folder / f"latents/{i}.npz", w_plus=w_plus)
        write_png(folder / f"aligned/{i}.png", np.full((32, 32, 3), i, np.uint8))
        sha256 = hashlib.sha256(bytes([i])).hexdigest()
        entries.append(manifest.Entry(f"{i}.jpg", str(i), sha256, "done", [f"aligned/{i}.png", f"latents/{i}.npz"]))
    manifest.write(folder, manifest.Header("0", "invert", card.model_dump(mode="json"), weights, {}), entries)
    return places


def test_a_damaged_latents_file_is_skipped(tmp_path: Path, tiny_card: Path) -> None:
    inverted(tmp_path, tiny_card, 3)
    damaged = tmp_path / "latents/1.npz"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 255  # the archive opens, but its checksum fails
    damaged.write_bytes(content)
    (tmp_path / "latents/2.npz").write_bytes(content[: len(content) // 2])
    found = list(read_inverted(load_named(str(tiny_card)), tmp_path))
    assert [type(item).__name__ for item in found] == ["MeasuredFace", "Skipped", "Skipped"]
    assert "1.npz" in found[1].reason


def test_fit_reads_latents_of_invert_and_a_table(tmp_path: Path, tiny_card: Path) -> None:
    places = inverted(tmp_path / "out", tiny_card, 120)
    (tmp_path / "l.csv").write_text("file,tall\n" + "".join(f"{i}.jpg,{p}\n" for i, p in enumerate(places)))
    common = ["directions", "fit", tmp_path / "out", "--labels", tmp_path / "l.csv", "-o", tmp_path]
    done = call(*common, "--attribute", "tall", "--condition", "light", "--model", tiny_card, "--json")
    assert done.returncode == 0, done.stderr
    (summary,) = json.loads(done.stdout)["directions"]
    assert summary["measure"] == "R2"
    assert summary["quality"] > 0.95
    assert summary["faces"] + summary["held_out"] == 120
    vector = directions.read(tmp_path / "tall.safetensors").vector
    assert float(vector[2, 3] / vector.norm()) > 0.98
    clash = call(*common, "--attribute", "tall", "--condition", "tall", "--model", tiny_card)
    assert (clash.returncode, "Traceback" in clash.stderr) == (1, False)
    other = call(*common, "--attribute", "tall")
    assert other.returncode == 1
    assert "other weights" in other.stderr


def test_paths_of_labels_are_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "{kind: directions, model: some, sources: {a: {labels: a.csv}, b: {names: age}},"
        " directions: [{name: x, source: a, attribute: x}]}"
    )
    sources = find_fit_recipe(str(tmp_path / "own.yaml")).sources
    assert (sources["a"].labels, sources["b"].labels) == (str(tmp_path / "a.csv"), None)


def test_shipped_labels_are_plausible() -> None:
    path = find_fit_recipe(DEFAULT_MODEL).sources["utk"].labels
    assert path is not None
    table = labels.from_csv(Path(path), ("22_1_3_20170104222126558.jpg", "no such file.jpg"))
    assert 0.5 < table["mouth_width"][0] < 1.5
    assert np.isnan(table["mouth_width"][1])


def test_shipped_directions_fit_the_default_model() -> None:
    path = find_card(DEFAULT_MODEL)
    card = read_card(path)
    recipe = find_fit_recipe(DEFAULT_MODEL)
    assert set(directions.shipped(DEFAULT_MODEL)) == {wanted.name for wanted in recipe.directions}
    from oodinv.directions.foreign import model_shape

    target = model_shape(card, path)
    for name in directions.shipped(DEFAULT_MODEL):
        assert directions.find(name, card, target.num_ws, target.w_dim).safe_range is not None


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
