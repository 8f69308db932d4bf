"""Model cards and recipes: what is refused, and how."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oodinv.errors import RecipeError
from oodinv.recipe.base import data_folder, parse_yaml
from oodinv.recipe.card import ModelCard, find_card, read_card

CARD = """
name: test
size: 64
generator: {weights: g.pt}
encoder: {kind: e4e, weights: e.pt}
licence: none
"""


def test_a_plain_card_has_the_documented_defaults() -> None:
    card: ModelCard = parse_yaml(CARD, ModelCard, "card")
    assert (card.crop.framing, card.crop.scale, card.samm) == ("ffhq", 1.0, None)
    with_samm: ModelCard = parse_yaml(CARD + "samm: {weights: s.pth}", ModelCard, "card")
    assert with_samm.samm is not None
    assert with_samm.samm.model_dump() == {
        "weights": "s.pth",
        "sizes": [32, 64, 128, 256],
        "cycles": 2,
        "flow_range": 0.08,
        "channels": None,
    }


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (CARD + "speed: fast", "speed"),
        (CARD.replace("size: 64", "size: 63"), "size"),
        (CARD.replace("kind: e4e", "kind: psp"), "encoder"),
        (CARD + "samm: {weights: s, sizes: [64, 32]}", "samm"),
        (CARD + "crop: {scale: 0}", "crop.scale"),
        ("- a list", "mapping"),
        ("name: [", "YAML"),
        ("", "mapping"),
        ("a: &a [*a]", ""),
    ],
)
def test_a_wrong_card_is_named_with_the_key(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"wrong\.yaml") as caught:
        read_card(path)
    assert names in str(caught.value)


def test_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="ffhq-e4e"):
        find_card("nobody")
    with pytest.raises(RecipeError, match=r"there is no model card nowhere\.yaml"):
        find_card("nowhere.yaml")
    with pytest.raises(RecipeError):
        find_card("../pretrained/ffhq-mobile")


@given(st.text(max_size=200))
def test_any_text_is_a_card_or_a_named_error(text: str) -> None:
    with contextlib.suppress(RecipeError):
        parse_yaml(text, ModelCard, "card")


def test_shipped_files_are_small_enough() -> None:
    sizes = {p.name: p.stat().st_size for p in data_folder("pretrained").iterdir() if p.is_file()}
    assert 30_000_000 < sum(sizes.values()) <= 40_000_000
