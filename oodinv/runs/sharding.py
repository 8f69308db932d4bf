"""Sharing one run among several processes or machines that see the same output folder.

Whole batches are dealt out in turn, so that each photo has the neighbours that it has in a single run and comes
out the same to the last bit.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from oodinv.runs.sources.base import Job

_TEXT = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True)
class Shard:
    """Share number `index`, counted from 0, of `count`."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"{self.index}/{self.count} is no share: they go from 0/{self.count} on, below the count")

    @property
    def part(self) -> str:
        """Its name in a folder, such as 0-of-2."""
        return f"{self.index}-of-{self.count}"

    def of(self, jobs: list[Job], chunk: int) -> list[Job]:
        """The jobs of this share: every count-th run of `chunk` consecutive ones."""
        starts = range(self.index * chunk, len(jobs), self.count * chunk)
        return [job for start in starts for job in jobs[start : start + chunk]]

    def plan(self, jobs: list[Job], chunk: int) -> str:
        """What all shares must agree on for each job to be in just one of them."""
        names = hashlib.sha256("\0".join(job.name for job in jobs).encode(errors="surrogateescape"))
        return f"{self.count}, {chunk}, {names.hexdigest()[:16]}"


def parse(text: str) -> Shard:
    """A share written as i/n.

    Raises:
        ValueError: it isn't, or i is not below n.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no share; write i/n, such as 0/4 for the first of four")
    return Shard(int(found[1]), int(found[2]))


def launched(environment: Mapping[str, str]) -> Shard | None:
    """The share that torchrun gives this process by RANK and WORLD_SIZE; None without them or for one process.

    Raises:
        ValueError: they make no sense.
    """
    rank, count = environment.get("RANK"), environment.get("WORLD_SIZE")
    if rank is None or count is None or count == "1":
        return None
    return parse(f"{rank}/{count}")
