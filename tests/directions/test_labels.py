"""Labels from file names and tables, and measures of faces."""

from pathlib import Path

import numpy as np
import pytest

from oodinv import DEFAULT_MODEL
from oodinv.directions import labels, measures
from oodinv.errors import RecipeError
from oodinv.recipe.directions import find_fit_recipe


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
    assert found == pytest.approx({"yaw": 0.1, "turn": 0.1, "pitch": 0.5, "smile": 0.8})
    turned = points @ np.array([[0, 3], [-3, 0]]) + 7  # a quarter turn, three times as large
    assert measures.of_points(turned) == pytest.approx(found)
    mirrored = (points * (-1, 1))[[1, 0, 2, 4, 3]]
    assert measures.of_points(mirrored)["yaw"] == pytest.approx(-0.1)


def test_brightness_is_measured_in_the_documented_regions() -> None:
    crop = np.zeros((100, 100, 3), np.uint8)
    crop[9:17, 40:60] = 255
    assert measures.of_crop(crop, 1.0)["hair"] > 0.6
    assert measures.of_crop(crop, 1.0)["light"] == measures.of_crop(crop, 1.0)["background"] == 0


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
