"""Splits one run among several processes or machines that see the same output folder.

Whole batches are assigned in turn, so that each photo is computed in the same batch as in a single run and gives
bitwise identical results.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from oodinv.runs.sources.base import Job

_TEXT = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True)
class Shard:
    """Shard `index`, counted from 0, of `count`."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"{self.index}/{self.count} is not a valid shard; shards are counted from 0")

    @property
    def part(self) -> str:
        """Name of the shard in file names, such as 0-of-2."""
        return f"{self.index}-of-{self.count}"

    def of(self, jobs: list[Job], chunk: int) -> list[Job]:
        """Selects the jobs of this shard: every count-th chunk of `chunk` consecutive jobs."""
        starts = range(self.index * chunk, len(jobs), self.count * chunk)
        return [job for start in starts for job in jobs[start : start + chunk]]

    def plan(self, jobs: list[Job], chunk: int) -> str:
        """Identifies the division of the jobs: count, chunk and a hash of the names. All shards of a run must agree."""
        names = hashlib.sha256("\0".join(job.name for job in jobs).encode(errors="surrogateescape"))
        return f"{self.count}, {chunk}, {names.hexdigest()[:16]}"


def parse(text: str) -> Shard:
    """Parses a shard written as i/n.

    Raises:
        ValueError: the text has another form, or i is not below n.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a valid shard; write i/n, such as 0/4 for the first of four")
    return Shard(int(found[1]), int(found[2]))


def launched(environment: Mapping[str, str]) -> Shard | None:
    """Reads the shard of a torchrun process from RANK and WORLD_SIZE; None without them or for a single process.

    Raises:
        ValueError: the values are not a valid shard.
    """
    rank, count = environment.get("RANK"), environment.get("WORLD_SIZE")
    if rank is None or count is None or count == "1":
        return None
    return parse(f"{rank}/{count}")
