"""Direction files: written, read, found, and fitting the default model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from oodinv import DEFAULT_MODEL, directions
from oodinv.directions import Direction
from oodinv.errors import RecipeError
from oodinv.recipe.card import find_card, read_card
from oodinv.recipe.directions import find_fit_recipe

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


def test_shipped_directions_fit_the_default_model() -> None:
    path = find_card(DEFAULT_MODEL)
    card = read_card(path)
    recipe = find_fit_recipe(DEFAULT_MODEL)
    assert set(directions.shipped(DEFAULT_MODEL)) == {w.name for w in recipe.directions if not w.score_only}
    from oodinv.directions.foreign import model_shape

    target = model_shape(card, path)
    for name in directions.shipped(DEFAULT_MODEL):
        assert directions.find(name, card, target.num_ws, target.w_dim).safe_range is not None
