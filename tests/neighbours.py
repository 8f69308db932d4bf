"""Stages of a run without networks, and what a run wrote."""

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

from oodinv.errors import ImageError
from oodinv.imaging.files import atomic_write
from oodinv.runs import manifest, runner
from oodinv.runs.collect import collect
from oodinv.runs.manifest import Header
from oodinv.runs.runner import Event, Finished
from oodinv.runs.sources.base import Job

HEADER = Header("1", "test", {}, {}, {"seed": 1})


class KilledError(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


@dataclass
class Neighbours:
    """Stages whose result depends on the whole chunk, as floating-point results of a batch may."""

    calls: int = 0
    kill_at: int | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    live: int = 0
    most_live: int = 0

    def _tick(self) -> None:
        with self.lock:
            self.calls += 1
            if self.calls == self.kill_at:
                raise KilledError

    def read(self, job: Job, content: bytes) -> bytes:
        self._tick()
        if content.startswith(b"bad"):
            raise ImageError(f"{job.path}: bad")
        if content.startswith(b"bug"):
            raise ZeroDivisionError("odd")
        with self.lock:
            self.live += 1
            self.most_live = max(self.most_live, self.live)
        return job.name.encode()

    def compute(self, photos: list[bytes]) -> list[tuple[str, bytes]]:
        self._tick()
        return [(photo.decode(), b"+".join(photos)) for photo in photos]

    def write(self, results: tuple[str, bytes], folder: Path) -> list[str]:
        self._tick()
        name, content = results
        for suffix in (".one", ".two"):
            atomic_write(folder / f"{name}{suffix}", lambda file: file.write(content))
        with self.lock:
            self.live -= 1
        return [f"{name}.one", f"{name}.two"]


def run(stages: Neighbours, photos: Path, out: Path, **options: bool) -> list[Event]:
    jobs = collect([photos], out)
    return list(runner.run(runner.local(stages), jobs, out, HEADER, chunk=4, **options))


def files(out: Path) -> dict[str, bytes]:
    found = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    lines = found.pop(manifest.FILE_NAME).decode().splitlines()
    entries = [json.loads(line) | {"seconds": 0} for line in lines]
    return found | {manifest.FILE_NAME: json.dumps(entries).encode()}


def statuses(events: list[Event]) -> dict[str, str]:
    return {e.entry.name: e.entry.status for e in events if isinstance(e, Finished)}
