"""Scripts of bench/ and docs/: all of them still fit the package."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [*sorted((ROOT / "bench").glob("*.py")), *sorted((ROOT / "docs").glob("*.py"))]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_finds_all_that_it_imports(script: Path) -> None:
    names = runpy.run_path(str(script), run_name="imported")
    assert names["__doc__"], "says what it is for"
