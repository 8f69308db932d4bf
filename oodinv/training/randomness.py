"""Random numbers as functions of seed and step, so that a resumed run draws the same as an undisturbed one."""

import numpy as np
import torch

from oodinv.training.parallel import ALONE, Team


def numpy_generator(seed: int, step: int, stream: str) -> np.random.Generator:
    """A NumPy generator for one purpose (`stream`) of one step."""
    return np.random.default_rng([abs(seed), step, *stream.encode()])


def torch_generator(
    seed: int, step: int, stream: str, device: torch.device | None = None, team: Team = ALONE
) -> torch.Generator:
    """A PyTorch generator for one purpose (`stream`) of one step; different for each process of a team."""
    (state,) = np.random.SeedSequence([abs(seed), step, team.rank, *stream.encode()]).generate_state(1, np.uint64)
    return torch.Generator(device or "cpu").manual_seed(int(state >> 1))
