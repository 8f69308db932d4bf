"""Fixtures that more than one test file uses."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with golden cases and photos beside the checkout; the test is skipped without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference data in {SHARED}, which is not there")
    return SHARED
