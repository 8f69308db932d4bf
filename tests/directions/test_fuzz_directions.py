"""Damaged archives of directions are refused."""

from pathlib import Path

import pytest
from altered import DAMAGED

from oodinv.directions.foreign import ModelShape, import_file
from oodinv.errors import WeightsError


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_direction_in_a_damaged_archive_is_a_weights_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.npz").write_bytes(content)
    with pytest.raises(WeightsError, match=r"odd\.npz: is a damaged \.npz"):
        import_file(tmp_path / "odd.npz", ModelShape("odd", 2, 8))
