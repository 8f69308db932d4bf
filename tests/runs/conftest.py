"""Files that stand for photos."""

from pathlib import Path

import pytest


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(6):
        (folder / f"{n}.jpg").write_bytes(f"photo {n}".encode())
    return folder
