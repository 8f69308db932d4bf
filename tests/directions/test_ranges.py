"""Ranges of recipes' strengths."""

from pathlib import Path

import pytest
import torch

from oodinv.directions import Direction, ranges, write
from oodinv.recipe.edit import EditRecipe

A_AT_TWO = [{"direction": "a", "strength": 2}]


@pytest.fixture(autouse=True)
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directions a, from -1 to 2, and b, whose range is unknown."""
    for name, bounds in (("a", (-1.0, 2.0)), ("b", None)):
        write(tmp_path / f"{name}.safetensors", Direction(name, "m", torch.ones(2, 2), safe_range=bounds))
    monkeypatch.setattr(ranges, "shipped", lambda _model: {n: tmp_path / f"{n}.safetensors" for n in "ab"})


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ([{"direction": "a", "strength": 1}], (-1, 2)),
        ([{"direction": "a", "strength": -2}], (-1, 0.5)),
        ([{"direction": "a", "strength": 1.3}], (-0.76, 1.53)),
        ([{"direction": "a", "strength": 1}, {"direction": "a", "strength": 4}], (-0.25, 0.5)),
        ([{"direction": "a", "strengths": [-1, 0, 1]}], (-1, 1)),
        ([{"direction": "a", "target": 1}], None),
        ([{"direction": "a", "strength": 1}, {"direction": "b", "strength": 1}], None),
        ([{"direction": "elsewhere.pt", "strength": 1}], None),
    ],
)
def test_a_factor_keeps_every_direction_in_its_range(
    edits: list[dict[str, object]], expected: tuple[float, float] | None
) -> None:
    assert ranges.strength_range(EditRecipe.model_validate({"edits": edits}), "m") == expected


def test_a_dye_is_applied_once_at_most() -> None:
    dye = EditRecipe.model_validate({"dye": {"colour": "grey", "amount": 0.8}})
    assert ranges.strength_range(dye, "m") == (0, 1.25)
    both = dye.model_copy(update={"edits": EditRecipe.model_validate({"edits": A_AT_TWO}).edits})
    assert ranges.strength_range(both, "m") == (0, 1)
