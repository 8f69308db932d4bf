"""Average latents in the forms in which they are published."""

from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_files import ONE, WIDTH
from safetensors.torch import save_file

from oodinv.errors import WeightsError
from oodinv.weights.reading.average import read_average


@pytest.mark.parametrize("shape", [(WIDTH,), (1, WIDTH), (8, WIDTH)])
@pytest.mark.parametrize("suffix", ["pt", "npy", "safetensors", "dict.pt"])
def test_average_latents_are_read_from_every_form(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    value, path = torch.randn(shape), tmp_path / f"average.{suffix}"
    match suffix:
        case "pt":
            torch.save(value, path)
        case "npy":
            np.save(path, value.numpy())
        case "safetensors":
            save_file({"latent_avg": value}, path)
        case _:
            torch.save({"latent_avg": value}, path)
    assert torch.equal(read_average(path), value)


def test_what_is_no_average_latent_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "three.npy", np.zeros((2, 3, 4), np.float32))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "three.npy").read_bytes()[:100])
    torch.save({"a": ONE, "b": ONE}, tmp_path / "two.pt")
    for name in ("three.npy", "cut.npy", "two.pt", "absent.pt"):
        with pytest.raises(WeightsError, match=name):
            read_average(tmp_path / name)
