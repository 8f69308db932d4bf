"""Bytes that mean harm: whatever a reader is given, it reads it or raises an error of ours."""

from pathlib import Path

import pytest
from altered import altered, fuzz
from fuzz import READERS, ReaderName, accepts, seeds
from fuzz import reader as make_reader
from hypothesis import given
from hypothesis import strategies as st

from oodinv.errors import OodinvError


@pytest.mark.parametrize("reader", ["placement", "direction"])
@fuzz
@given(st.data())
def test_any_bytes_are_read_or_refused_by_name(tmp_path: Path, reader: ReaderName, data: st.DataObject) -> None:
    content = data.draw(altered(list(seeds(reader))))
    try:
        make_reader(reader, tmp_path)(content)
    except OodinvError as error:
        assert "odd." in str(error)  # noqa: PT017


CORPUS = Path(__file__).resolve().parent / "corpus"
FOUND = [(reader, path) for reader in READERS for path in sorted((CORPUS / reader).glob("*"))]


@pytest.mark.parametrize(("reader", "path"), FOUND, ids=lambda value: getattr(value, "name", value))
def test_what_fuzzing_found_is_read_or_refused(reader: ReaderName, path: Path, tmp_path: Path) -> None:
    accepts(make_reader(reader, tmp_path), path.read_bytes())


@pytest.mark.parametrize("reader", READERS)
def test_fuzzing_starts_from_files_that_are_read(reader: ReaderName, tmp_path: Path) -> None:
    read_bytes = make_reader(reader, tmp_path)
    assert any(accepts(read_bytes, seed) for seed in seeds(reader))
