"""`oodinv recipes list` and `oodinv models list`."""

import json
import sys
from pathlib import Path

import pytest
from command import call_here
from PIL import Image

from oodinv import DEFAULT_MODEL, directions
from oodinv.cli.console import print_facts
from oodinv.recipe.base import recipe_names
from oodinv.recipe.card import card_names


def test_every_recipe_is_listed_with_range_and_picture() -> None:
    listed = json.loads(call_here("recipes", "list", "--json").stdout)["recipes"]
    assert [recipe["name"] for recipe in listed] == recipe_names("edit")
    text = call_here("recipes", "list").stdout
    for recipe in listed:
        assert 5 < len(recipe["does"]) < 120
        assert f"{recipe['name']}: {recipe['does']}" in text
        if recipe["model"] == DEFAULT_MODEL:
            low, high = recipe["safe_range"]
            assert low <= 0 < 1 <= high
            assert Path(recipe["thumbnail"]).stat().st_size <= 30_000
            assert Image.open(recipe["thumbnail"]).height >= 128
            assert recipe["thumbnail"] in text


@pytest.mark.parametrize(("kind", "word"), [("recipes", "older"), ("models", "restyle")])
def test_lists_are_searched_by_a_word(kind: str, word: str) -> None:
    listed = json.loads(call_here(kind, "list", word, "--json").stdout)[kind]
    assert listed
    assert all(word in f"{item['name']} {item['does']}".casefold() for item in listed)
    assert "matches 'nonsense'" in call_here(kind, "list", "nonsense").stderr


def test_every_model_is_listed_with_its_directions_and_missing_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OODINV_CACHE", str(tmp_path))
    listed = {m["name"]: m for m in json.loads(call_here("models", "list", "--json").stdout)["models"]}
    assert sorted(listed) == card_names()
    assert list(listed[DEFAULT_MODEL]["directions"]) == list(directions.shipped(DEFAULT_MODEL))
    assert listed[DEFAULT_MODEL]["missing"] == ["mobilestylegan-ffhq"]
    assert listed["ffhq-e4e"]["missing"] == ["e4e_ffhq_encode.pt", "samm.pth"]
    (tmp_path / "samm.pth").write_bytes(b"")
    listed = {m["name"]: m for m in json.loads(call_here("models", "list", "--json").stdout)["models"]}
    assert listed["ffhq-e4e"]["missing"] == ["e4e_ffhq_encode.pt"]
    assert f"{DEFAULT_MODEL} (default)" in call_here("models", "list").stdout


@pytest.mark.parametrize("columns", [40, 80])
def test_facts_are_folded_on_terminals_and_whole_in_pipes(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = "/somewhere/" + "deep/" * 20
    facts = {"what": "a description of some words " * 4, "nothing": "", "file": path}
    monkeypatch.setenv("COLUMNS", str(columns))
    print_facts("name: what it is", facts)
    piped = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in piped] == ["name:", "what", "file"]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_facts("name: what it is", facts)
    *folded, file = capsys.readouterr().out.splitlines()
    assert len(folded) > 2
    assert all(len(line) <= columns for line in folded)
    assert all(line.startswith(" " * 8) for line in folded[2:])
    assert " ".join(" ".join(folded).split()) == " ".join(" ".join(piped[:2]).split())
    assert file == piped[2], "a path that has no room stays in one piece"
