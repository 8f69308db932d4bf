"""Batches of training faces, read from memory or from a memory-mapped file."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from oodinv.imaging.pixels import Pixels, to_tensor


@dataclass(frozen=True)
class UnusablePhoto:
    """A photo that is not trained on, and the reason."""

    path: str
    error: str


@dataclass(frozen=True, eq=False)
class Faces:
    """Crops uint8 (N, size, size, 3) RGB, in memory or memory-mapped, and the rows of training and of held-out ones.

    With labels, crops have a fourth channel whose levels are classes.
    unusable: photos that could not be read or show no face.
    """

    crops: Pixels
    train: NDArray[np.int64]
    held_out: NDArray[np.int64]
    unusable: tuple[UnusablePhoto, ...] = ()


@dataclass(frozen=True)
class Sampler:
    """Draws batches without replacement, in a new order each epoch, as a pure function of seed and step.

    The step alone is the position in the data, so that a resumed run gets the same batches as an undisturbed one.
    """

    count: int
    batch: int
    seed: int
    flip: bool

    def indices(self, step: int) -> NDArray[np.int64]:
        """Indices of the batch of a step, (batch,)."""
        per_epoch = max(self.count // self.batch, 1)
        epoch, position = divmod(step, per_epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
        return order[position * self.batch : (position + 1) * self.batch]

    def mirrored(self, step: int) -> NDArray[np.bool_]:
        """Flags of the images of a step's batch to mirror, (batch,): half of them on average if `flip`."""
        if not self.flip:
            return np.zeros(self.batch, np.bool_)
        found: NDArray[np.bool_] = np.random.default_rng((self.seed, step, 1)).random(self.batch) < 0.5
        return found


Key = tuple[int, bool]
"""Index of a face, and true if it is mirrored."""


@dataclass(frozen=True)
class StepBatches:
    """Batch sampler of a `DataLoader`: one process's share of the batch of each step from `start` to `stop`."""

    sampler: Sampler
    start: int
    stop: int
    rank: int = 0
    size: int = 1

    def __iter__(self) -> Iterator[list[Key]]:
        for step in range(self.start, self.stop):
            keys = zip(self.sampler.indices(step).tolist(), self.sampler.mirrored(step).tolist(), strict=True)
            yield list(keys)[self.rank :: self.size]

    def __len__(self) -> int:
        return self.stop - self.start


class FaceDataset(Dataset[Tensor]):
    """Rows of an array of crops as images, float (3, size, size) in [−1, 1]; with labels they have four channels."""

    def __init__(self, crops: Pixels, rows: NDArray[np.int64]) -> None:
        self.crops, self.rows = crops, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> Tensor:
        index, mirrored = key
        crop = self.crops[self.rows[index]]
        return to_tensor(crop[:, ::-1] if mirrored else crop)[0]


def training_batches(faces: Faces, batches: StepBatches, workers: int = 0) -> DataLoader[Tensor]:
    """Loads the batches of training faces, float (B, 3, S, S) in [−1, 1]. workers: processes that read ahead."""
    return DataLoader(FaceDataset(faces.crops, faces.train), batch_sampler=batches, num_workers=workers)


def held_out_batches(faces: Faces, batch: int, limit: int) -> DataLoader[Tensor]:
    """Loads held-out faces in order, at most `limit` of them, as float batches in [−1, 1]."""
    rows = faces.held_out[:limit]
    indices = [range(start, min(start + batch, len(rows))) for start in range(0, len(rows), batch)]
    keys = [[(index, False) for index in some] for some in indices]
    return DataLoader(FaceDataset(faces.crops, rows), batch_sampler=keys)
