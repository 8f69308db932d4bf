"""Placements of crops that are not what `align` wrote."""

from pathlib import Path

import pytest

from oodinv.errors import ImageError
from oodinv.faces.align import read_placement


@pytest.mark.parametrize("corner", ["[" * 100_000, "Infinity", "1e999", "null", '{"a": 1}'])
@pytest.mark.parametrize("field", ["quad", "photo_size"])
def test_a_placement_of_anything_else_is_an_image_error(corner: str, field: str, tmp_path: Path) -> None:
    good = {"quad": "[[0, 0], [0, 9], [9, 9], [9, 0]]", "photo_size": "[20, 10]"}
    bad = good | {field: f"[{corner}, {corner}]"}
    (tmp_path / "odd.json").write_text("{" + ", ".join(f'"{key}": {value}' for key, value in bad.items()) + "}")
    with pytest.raises(ImageError, match=r"odd\.json"):
        read_placement(tmp_path / "odd.json")
