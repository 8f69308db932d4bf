"""A model whose conversion takes a third of the time."""

from pathlib import Path

import pytest
from tiny import write_card


@pytest.fixture(scope="session")
def tiny_card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Card of a 16 px model with random weights and SAMM of one cycle."""
    return write_card(tmp_path_factory.mktemp("tiny"), cycles=1, size=16)
