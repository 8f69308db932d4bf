"""Fits of directions to synthetic faces, and the arithmetic they are made of."""

import sys

import numpy as np
import pytest
import torch
from tolerances import FLOAT32_DEEP, FLOAT64

from oodinv import directions
from oodinv.directions import labels, regress
from oodinv.directions.faces import MeasuredFaces
from oodinv.directions.fit import fit, score_labels
from oodinv.errors import OodinvError, RecipeError
from oodinv.recipe.directions import DirectionSpec

NUM_WS, W_DIM = 4, 12


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
