"""Bytes that are nearly model cards: read or refused."""

from pathlib import Path

import pytest
import yaml
from altered import altered, fuzz, values
from hypothesis import given
from hypothesis import strategies as st

from oodinv.errors import RecipeError
from oodinv.recipe.card import read_card

CARDS = Path(__file__).resolve().parents[2] / "pretrained"
KEYS = ["name", "size", "crop", "generator", "encoder", "samm", "licence", "kind", "weights", "sizes", "flow_range"]


@st.composite
def cards(draw: st.DrawFn) -> bytes:
    """A card that comes with the project with values exchanged."""
    card = yaml.safe_load(draw(st.sampled_from(sorted(CARDS.glob("*.yaml")))).read_text())
    for _ in range(draw(st.integers(1, 3))):
        inner = draw(st.sampled_from([card, *(v for v in card.values() if isinstance(v, dict))]))
        inner[draw(st.sampled_from(KEYS))] = draw(values)
    return yaml.safe_dump(card, allow_unicode=True).encode(errors="surrogatepass")


@fuzz
@given(
    st.one_of(cards(), altered([path.read_bytes() for path in sorted(CARDS.glob("*.yaml"))]), st.binary(max_size=40))
)
def test_any_bytes_are_a_card_or_a_recipe_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    try:
        read_card(path)
    except RecipeError as error:
        assert "odd.yaml" in str(error)  # noqa: PT017


def test_a_card_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    """Nine lists of nine of the one before: a billion values if anything goes through them."""
    lines = ["a0: &a0 x", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
    (tmp_path / "laughs.yaml").write_text("\n".join(lines))
    with pytest.raises(RecipeError, match=r"laughs\.yaml"):
        read_card(tmp_path / "laughs.yaml")
