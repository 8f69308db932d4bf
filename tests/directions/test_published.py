"""Directions of a recipe that come from published files: layers, scale, projection, and the shipped ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from command import call_here
from tolerances import FLOAT32

from oodinv import DEFAULT_MODEL, directions
from oodinv.directions import Direction
from oodinv.directions.foreign import ModelShape
from oodinv.directions.published import project_out, take
from oodinv.errors import RecipeError
from oodinv.recipe.base import parse_yaml
from oodinv.recipe.directions import DirectionSpec, FitRecipe, find_fit_recipe

NUM_WS, W_DIM = 4, 6
TARGET = ModelShape("tiny", NUM_WS, W_DIM, spare_rows=2)


def spec(**wanted: object) -> DirectionSpec:
    return DirectionSpec.model_validate(
        {"name": "d", "attribute": "a", "published": "d.npy", "unit": "a step"} | wanted
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One published vector, of a generator with two rows more."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "d.npy", rng.standard_normal((NUM_WS + 2, W_DIM)).astype(np.float32))
    return tmp_path


def test_the_vector_is_scaled_and_limited_to_its_layers(folder: Path) -> None:
    found = take(folder, spec(scale=-1.5, layers=[1, 3], safe_range=(-1, 2)), TARGET, {})
    file = torch.from_numpy(np.load(folder / "d.npy"))[:NUM_WS]
    torch.testing.assert_close(found.vector[[1, 3]], -1.5 * file[[1, 3]], atol=FLOAT32, rtol=0)
    assert not found.vector[[0, 2]].any()
    assert (found.layers, found.safe_range, found.unit, found.model) == ((1, 3), (-1, 2), "a step", "tiny")
    assert "d.npy" in found.method
    assert "-1.5" in found.method


def test_an_average_has_the_same_row_everywhere(folder: Path) -> None:
    found = take(folder, spec(average=True), TARGET, {}).vector
    mean = torch.from_numpy(np.load(folder / "d.npy"))[:NUM_WS].mean(dim=0)
    torch.testing.assert_close(found, mean.repeat(NUM_WS, 1), atol=FLOAT32, rtol=0)


@pytest.mark.parametrize("layers", [None, [0, 2]])
def test_projected_directions_are_orthogonal_on_the_layers(folder: Path, layers: list[int] | None) -> None:
    rng = np.random.default_rng(1)
    known = {
        name: Direction(name, "tiny", torch.from_numpy(rng.standard_normal((NUM_WS, W_DIM)).astype(np.float32)))
        for name in ("x", "y")
    }
    found = take(folder, spec(without=("x", "y"), layers=layers), TARGET, known)
    for other in known.values():
        rows = layers or list(range(NUM_WS))
        assert abs(float((found.vector[rows] * other.vector[rows]).sum())) < 1e-5
    kept = take(folder, spec(layers=layers), TARGET, {}).vector
    assert float((found.vector * kept).sum()) == pytest.approx(float(found.vector.square().sum()), rel=1e-5)


def test_a_projection_that_leaves_nothing_is_refused(folder: Path) -> None:
    own = Direction("own", "tiny", torch.from_numpy(np.load(folder / "d.npy"))[:NUM_WS])
    with pytest.raises(RecipeError, match="nothing is left of it without own"):
        take(folder, spec(without=("own",)), TARGET, {"own": own})
    with pytest.raises(RecipeError, match="no layer 9"):
        take(folder, spec(layers=[9]), TARGET, {})


def test_dependent_directions_are_projected_out_once() -> None:
    rng = np.random.default_rng(2)
    vector, other = (torch.from_numpy(rng.standard_normal((2, 3))) for _ in range(2))
    torch.testing.assert_close(project_out(vector, [other, 2 * other]), project_out(vector, [other]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"unit": ""}, "needs a unit"),
        ({"conditions": ["b"]}, "not fitted"),
        ({"score_only": True}, "not fitted"),
        ({"scale": 0}, "scale must not be 0"),
        ({"published": None}, "published directions"),
        ({"published": None, "unit": ""}, "needs a source"),
        ({"without": ["e"]}, "is without e"),
    ],
)
def test_inconsistent_recipes_are_refused(change: dict[str, object], says: str) -> None:
    wanted = {"name": "d", "attribute": "a", "published": "d.npy", "unit": "a step"} | change
    with pytest.raises(RecipeError, match=says):
        parse_yaml(str({"kind": "directions", "model": "m", "directions": [wanted]}).replace("None", "null"),
                   FitRecipe, "recipe")  # fmt: skip


def test_a_recipe_of_published_directions_needs_no_faces(tmp_path: Path, tiny_card: Path) -> None:
    np.save(tmp_path / "d.npy", np.arange(16, dtype=np.float32))
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        f"{{kind: directions, model: {tiny_card}, directions: [{{name: d, attribute: a, published: d.npy, "
        "unit: a step, scale: 2, safe_range: [-1, 1]}]}"
    )
    missing = call_here("directions", "fit", "--recipe", recipe, "-o", tmp_path / "out")
    assert missing.returncode == 2
    assert "published=FOLDER" in missing.stderr
    made = call_here("directions", "fit", "--recipe", recipe, "--data", f"published={tmp_path}", "-o", tmp_path / "out")
    assert made.returncode == 0, made.stderr
    found = directions.read(tmp_path / "out" / "d.safetensors")
    assert found.vector[0].tolist() == [2.0 * n for n in range(16)]
    assert found.safe_range == (-1, 1)


def test_shipped_directions_of_published_files_are_those_that_their_recipe_makes(shared: Path) -> None:
    recipe = find_fit_recipe(DEFAULT_MODEL)
    known = {name: directions.read(path) for name, path in directions.shipped(DEFAULT_MODEL).items()}
    made: dict[str, Direction] = {w.name: known[w.name] for w in recipe.directions if w.source and not w.score_only}
    for wanted in recipe.directions:
        if wanted.published is None:
            continue
        made[wanted.name] = take(shared / "directions", wanted, ModelShape(DEFAULT_MODEL, 16, 512, 2), made)
        ours, theirs = made[wanted.name], known[wanted.name]
        torch.testing.assert_close(ours.vector, theirs.vector, atol=FLOAT32, rtol=0)
        assert (ours.unit, ours.safe_range, ours.layers) == (theirs.unit, theirs.safe_range, theirs.layers)
