"""Sinks: names for `--save`, and one registered from outside the package."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer

from oodinv.cli.prepare import parse_save
from oodinv.imaging.decode import read_photo
from oodinv.imaging.provenance import Provenance
from oodinv.inversion import Artefacts, Subject
from oodinv.runs.sinks import SINKS, output_names, write_artefacts


def face(name: str) -> Artefacts:
    crop = np.full((8, 8, 3), 90, np.uint8)
    mask = np.full((8, 8), 255, np.uint8)
    flows = {"mask": np.ones((8, 8), np.float16)}
    return Artefacts(Subject(name, crop, None), np.ones((6, 5), np.float32), dict(flows), mask, crop, crop)


def test_each_sink_writes_into_the_folder_of_its_name(tmp_path: Path) -> None:
    outputs = list(write_artefacts(face("a/b"), tmp_path, frozenset(output_names()), Provenance()))
    assert outputs == [
        "latents/a/b.npz",
        "flows/a/b.npz",
        "masks/a/b.png",
        "generated/a/b.png",
        "composites/a/b.png",
    ]
    assert [Path(output).parts[0] for output in outputs] == [sink.name for sink in SINKS]
    np.testing.assert_array_equal(np.load(tmp_path / "latents/a/b.npz")["w_plus"], np.ones((6, 5)))
    np.testing.assert_array_equal(np.load(tmp_path / "flows/a/b.npz")["mask"], np.ones((8, 8)))
    assert np.all(read_photo(tmp_path / "masks/a/b.png").pixels == 255)
    assert np.all(read_photo(tmp_path / "composites/a/b.png").pixels == 90)


def test_only_the_artefacts_that_save_names_are_written(tmp_path: Path) -> None:
    assert list(write_artefacts(face("a"), tmp_path, parse_save("masks, latents"), Provenance())) == [
        "latents/a.npz",
        "masks/a.png",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latents", "masks"]


def test_a_sink_from_outside_the_package_is_chosen_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Means:
        """The mean level of a composite as text."""

        name = "means"

        def write(self, artefacts: Artefacts, folder: Path, made: Provenance) -> Iterator[str]:
            yield (output := f"means/{artefacts.subject.name}.txt")
            (folder / "means").mkdir()
            (folder / output).write_text(f"{artefacts.composite.mean():g} {made.model}")

    with pytest.raises(typer.BadParameter, match="means: choose among latents"):
        parse_save("means")
    monkeypatch.setattr("oodinv.runs.sinks.SINKS", (*SINKS, Means()))
    save = parse_save("means")
    assert list(write_artefacts(face("a"), tmp_path, save, Provenance(model="mini"))) == ["means/a.txt"]
    assert (tmp_path / "means/a.txt").read_text() == "90 mini"
