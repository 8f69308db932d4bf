"""Edits of latent codes, and edit recipes: validation and lookup."""

import itertools
from pathlib import Path

import pytest
import torch
from tolerances import FLOAT32, FLOAT32_DEEP

from oodinv import DEFAULT_MODEL
from oodinv.directions.lookup import find
from oodinv.editing.latent import LatentEdit, ScoreTarget, apply_edit, score
from oodinv.errors import RecipeError
from oodinv.recipe.base import data_folder, parse_yaml
from oodinv.recipe.card import find_card, read_card
from oodinv.recipe.edit import EditRecipe, find_edit_recipe, read_edit_recipe

NUM_WS, W_DIM = 6, 8


def codes(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, NUM_WS, W_DIM, generator=torch.Generator().manual_seed(seed))


def test_an_edit_without_effect_returns_the_same_values() -> None:
    w, average = codes(0, 3), codes(1)
    zero = [codes(2) * 0.0, codes(3) * 0.0]
    assert torch.equal(apply_edit(LatentEdit(deltas=zero, amount=0.0, towards=codes(4)), w, average), w)


def test_the_order_of_directions_changes_no_bit() -> None:
    w, average = codes(0, 3), codes(1)
    deltas = [codes(n) * 10.0**n for n in range(2, 6)]
    results = [apply_edit(LatentEdit(deltas=order), w, average) for order in itertools.permutations(deltas)]
    assert all(torch.equal(result, results[0]) for result in results)
    torch.testing.assert_close(
        results[0].double(), (w.double() + sum(d.double() for d in deltas)), rtol=1e-6, atol=1e-3
    )


def test_truncation_interpolation_and_mixing_follow_their_formulas() -> None:
    w, average, other = codes(0, 2), codes(1), codes(2)
    torch.testing.assert_close(apply_edit(LatentEdit(truncation=0.0), w, average), average.expand_as(w))
    torch.testing.assert_close(apply_edit(LatentEdit(truncation=0.7), w, average), average + 0.7 * (w - average))
    torch.testing.assert_close(apply_edit(LatentEdit(towards=other, amount=0.25), w, average), 0.75 * w + 0.25 * other)
    original = w.clone()
    mixed = apply_edit(LatentEdit(mixed=other, layers=(1, 4)), w, average)
    for row in range(NUM_WS):
        assert torch.equal(mixed[:, row], other[row].expand(2, -1) if row in (1, 4) else w[:, row])
    assert torch.equal(w, original)


def test_a_strength_of_one_raises_the_score_by_one() -> None:
    w, average, unit = codes(0, 3), codes(1), codes(2)
    difference = score(w + unit, average, unit) - score(w, average, unit)
    torch.testing.assert_close(difference, torch.ones(3, dtype=torch.float64), atol=FLOAT32, rtol=0)
    torch.testing.assert_close(score(average[None], average, unit), torch.zeros(1, dtype=torch.float64))


def test_all_targets_are_reached_in_any_order() -> None:
    w, average = codes(0, 3), codes(1)
    targets = [ScoreTarget(codes(2), 1.5), ScoreTarget(codes(2) + 0.5 * codes(3), -0.5)]
    for order in (targets, targets[::-1]):
        edited = apply_edit(LatentEdit(targets=order, deltas=[codes(5)], truncation=0.8), w, average)
        for target in targets:
            reached = score(edited, average, target.unit)
            torch.testing.assert_close(reached, torch.full((3,), target.score).double(), atol=FLOAT32_DEEP, rtol=0)


def test_linearly_dependent_targets_are_rejected() -> None:
    with pytest.raises(ValueError, match="same direction"):
        apply_edit(LatentEdit(targets=[ScoreTarget(codes(2), 1), ScoreTarget(codes(2) * 2, 1)]), codes(0, 1), codes(1))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("edits: [{direction: age, strength: 1}]\nspeed: 1", "speed"),
        ("edits: [{direction: age, strength: 1, layer: [1]}]", "layer"),
        ("edits: [{direction: age}]", "strength"),
        ("edits: [{direction: age, strength: 1, target: 2}]", "strength"),
        ("edits: [{direction: age, strengths: []}]", "strengths"),
        ("edits: [{direction: age, strength: 1, layers: [-1]}]", "layers"),
        ("edits: [{direction: a, strengths: [1, 2]}, {direction: b, strengths: [1, 2]}]", "only one"),
        ("interpolate: {person: b}", "amount"),
        ("edits: [{direction: age, strength: .nan}]", "strength"),
        ("compose: {technique: seamless}\ntruncation: 0.5", "technique"),
        ("truncation: 2", "truncation"),
        ("description: nothing", "no steps"),
        ("dye: {colour: mauve}", "colour"),
        ("dye: {colour: red, amount: 2}", "amount"),
    ],
)
def test_an_invalid_recipe_is_rejected_with_file_and_key(text: str, names: str) -> None:
    with pytest.raises(RecipeError, match=r"wrong\.yaml") as caught:
        parse_yaml(text, EditRecipe, "wrong.yaml")
    assert names in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("truncation: 0.5\nspeed: 1", "speed: is not a known key; check its spelling"),
        ("edits: [{strength: 1}]", "edits.0.direction: is missing"),
        ("truncation: 2", "truncation: should be less than or equal to 1"),
        ("edits: [{direction: age}]", "edits.0: needs one of strength, strengths and target"),
    ],
)
def test_errors_in_recipes_are_explained_in_plain_words(text: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_yaml(text, EditRecipe, "wrong.yaml")
    assert says in str(caught.value).splitlines()[1]


def test_recipes_in_the_current_folder_precede_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = data_folder("recipes") / "edit"
    assert find_edit_recipe("older") == find_edit_recipe("older.yaml") == shipped / "older.yaml"
    (tmp_path / "older.yaml").write_text("truncation: 0.5")
    assert read_edit_recipe(find_edit_recipe("older")).truncation == 0.5
    with pytest.raises(RecipeError, match=r"nobody.*older.*smile"):
        find_edit_recipe("nobody")


def test_documented_recipes_are_shipped_with_their_directions() -> None:
    found = {path.stem: read_edit_recipe(path) for path in (data_folder("recipes") / "edit").glob("*.yaml")}
    asked = {"older", "younger", "smile", "less-smile", "turn-left", "turn-right", "feminine", "masculine"}
    asked |= {"lighter-hair", "darker-hair", "blond-hair", "black-hair", "grey-hair", "open-mouth", "make-up"}
    assert asked <= set(found)
    shipped = data_folder("pretrained") / "directions" / DEFAULT_MODEL
    directions = {path.stem for path in shipped.glob("*.safetensors")}
    own = [recipe for recipe in found.values() if recipe.model is None]
    assert {step.direction for recipe in own for step in recipe.edits} <= directions
    assert found["older"].edits[0].direction == found["younger"].edits[0].direction
    assert (found["younger"].edits[0].strength or 0) < 0 < (found["older"].edits[0].strength or 0)


@pytest.mark.parametrize("name", ["older", "younger", "smile", "less-smile"])
def test_ffhq_recipes_accept_the_published_direction_files(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = find_edit_recipe(f"ffhq-{name}")
    recipe = read_edit_recipe(path)
    assert recipe.model is not None
    card = read_card(find_card(recipe.model))
    (step,) = recipe.edits
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=step.direction):
        find(step.direction, card, 18, 512, path.parent)
    (tmp_path / step.direction).write_bytes((shared / "directions" / f"e4e_{step.direction}").read_bytes())
    assert find(step.direction, card, 18, 512, path.parent).vector[0].norm().item() == pytest.approx(1, abs=1e-3)
