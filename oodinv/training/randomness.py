"""Random numbers that are functions of seed and step, so that a resumed run draws what an undisturbed one would."""

import numpy as np
import torch

from oodinv.training.parallel import ALONE, Team


def numpy_generator(seed: int, step: int, stream: str) -> np.random.Generator:
    """NumPy's generator for one purpose of one step."""
    return np.random.default_rng([abs(seed), step, *stream.encode()])


def torch_generator(
    seed: int, step: int, stream: str, device: torch.device | None = None, team: Team = ALONE
) -> torch.Generator:
    """PyTorch's generator for one purpose of one step; different for each process if a team is given."""
    (state,) = np.random.SeedSequence([abs(seed), step, team.rank, *stream.encode()]).generate_state(1, np.uint64)
    return torch.Generator(device or "cpu").manual_seed(int(state >> 1))
