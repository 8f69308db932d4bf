"""What becomes of photos: read, computed and written, all three at once, in chunks of consecutive inputs.

A chunk is always computed as a whole: what an image's neighbours in a batch are never depends on where an earlier run
was stopped, so results are the same to the last bit.
"""

import hashlib
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from oodinv.errors import ImageError, OodinvError, OutputError
from oodinv.runs import manifest
from oodinv.runs.manifest import Entry
from oodinv.runs.sources.base import Job

P = TypeVar("P")
C = TypeVar("C")

CHUNKS_AHEAD = 2
"""Chunks read, and chunks written, while one is computed: bounds memory whatever the folder's size."""
READERS = 2
WRITERS = 2
MAX_BYTES = 2 << 30
"""Larger files are no photos: they would only fill the memory."""


class Stages(Protocol[P, C]):
    """What a command does to a photo: P is a photo read, C its results. `read` and `write` run in threads."""

    def read(self, job: Job, content: bytes) -> P:
        """Decodes and prepares a photo.

        Raises:
            OodinvError: this photo can't be used.
        """
        ...

    def compute(self, photos: list[P]) -> list[C]:
        """Results of a chunk, in order."""
        ...

    def write(self, results: C, folder: Path) -> list[str]:
        """Writes results and returns their paths relative to the folder.

        Raises:
            OodinvError: they can't be written.
        """
        ...


@runtime_checkable
class Remarking(Protocol):
    """Stages that have something to say about finished photos."""

    def remarks(self, results: Any) -> list[str]:
        """Remarks on a photo's results, such as faces that were left out."""
        ...


@dataclass(frozen=True)
class _Read(Generic[P]):
    job: Job
    sha256: str
    photo: P
    seconds: float


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        ImageError: it is missing, no regular file, larger than MAX_BYTES, unreadable, or changes meanwhile.
    """
    try:
        if path.is_dir():
            raise ImageError(f"{path}: is a folder that can't be listed; check its permissions")
        if not path.is_file():
            raise ImageError(f"{path}: there is no such file, or it is not a regular one; check the input")
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            content = file.read(MAX_BYTES + 1)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise ImageError(f"{path}: can't be read ({error.strerror}); check its permissions") from error
    if len(content) > MAX_BYTES:
        raise ImageError(f"{path}: has more than {MAX_BYTES >> 30} GiB, which no photo needs; check the input")
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ImageError(f"{path}: changed while it was read; give the command again when it is complete")
    return content


def _read(stages: Stages[P, C], job: Job) -> _Read[P] | Entry:
    start = time.perf_counter()
    if job.unsupported is not None:
        return Entry(str(job.path), job.name, None, "unsupported", error=job.unsupported)
    sha256 = None
    try:
        content = read_bytes(job.path)
        sha256 = hashlib.sha256(content).hexdigest()
        photo = stages.read(job, content)
    except OodinvError as error:
        return _failure(job, sha256, str(error), start)
    except Exception as error:  # no photo, however odd, may stop the others; the type's name helps to mend it
        return _failure(job, sha256, f"{job.path}: unexpected {type(error).__name__}: {error}", start)
    return _Read(job, sha256, photo, time.perf_counter() - start)


def _failure(job: Job, sha256: str | None, message: str, start: float) -> Entry:
    seconds = round(time.perf_counter() - start, 3)
    return Entry(str(job.path), job.name, sha256, "failed", error=message, seconds=seconds, frame=job.frame)


def _write(stages: Stages[P, C], read: _Read[P], results: C, folder: Path, computing: float) -> Entry:
    start = time.perf_counter()
    try:
        outputs = stages.write(results, folder)
        sizes = manifest.sizes(outputs, folder)
        remarks = stages.remarks(results) if isinstance(stages, Remarking) else []
    except OutputError:
        raise  # the folder's fault: going on would fail every photo
    except OodinvError as error:
        return _failure(read.job, read.sha256, str(error), start)
    except Exception as error:  # as in `_read`
        return _failure(read.job, read.sha256, f"{read.job.path}: unexpected {type(error).__name__}: {error}", start)
    seconds = round(read.seconds + computing + time.perf_counter() - start, 3)
    return Entry(
        str(read.job.path), read.job.name, read.sha256, "done", outputs, seconds=seconds, bytes=sizes,
        remarks=remarks, frame=read.job.frame,
    )  # fmt: skip


@dataclass(frozen=True)
class Past:
    """What an earlier run left in the folder."""

    entries: dict[str, Entry]

    def is_done(self, job: Job, folder: Path) -> bool:
        """Whether the job's results are there, whole, and its photo is the one they were made of."""
        entry = self.entries.get(job.name)
        if entry is None or not entry.is_complete(folder):
            return False
        try:
            return entry.sha256 == hashlib.sha256(read_bytes(job.path)).hexdigest()
        except ImageError:
            return False

    def belongs_to_another(self, job: Job, sha256: str) -> bool:
        """Whether the name is taken by the results of another photo, not of this one, changed or moved."""
        entry = self.entries.get(job.name)
        if entry is None or entry.status != "done" or entry.sha256 == sha256:
            return False
        return os.path.realpath(entry.input) != os.path.realpath(job.path)

    def has_failed(self, job: Job) -> bool:
        """Whether an earlier run failed on this job."""
        entry = self.entries.get(job.name)
        return entry is not None and entry.status != "done"


@dataclass(frozen=True)
class Work:
    """Jobs to go through, in chunks of `chunk`; results go below `folder`, and those named in `done` are there."""

    jobs: list[Job]
    folder: Path
    chunk: int
    past: Past
    done: frozenset[str]

    def chunks(self) -> Iterator["Chunk"]:
        """Those with jobs that are pending, in order."""
        for start in range(0, len(self.jobs), self.chunk):
            jobs = self.jobs[start : start + self.chunk]
            pending = [job for job in jobs if job.name not in self.done]
            if not pending:
                continue
            retry = all(self.past.has_failed(job) for job in pending)
            yield Chunk(jobs, frozenset(job.name for job in pending), pending if retry else jobs)


@dataclass(frozen=True)
class Chunk:
    """Consecutive jobs; `pending` are those without results, `first` those to read before deciding."""

    jobs: list[Job]
    pending: frozenset[str]
    first: list[Job]


@dataclass(frozen=True)
class _Reading(Generic[P]):
    chunk: Chunk
    futures: dict[str, "Future[_Read[P] | Entry]"]


def _read_ahead(
    stages: Stages[P, C], chunks: Iterator[Chunk], pool: ThreadPoolExecutor
) -> Iterator[tuple[Chunk, dict[str, _Read[P] | Entry]]]:
    """Chunks with what was read of each job, in order, a bounded number of chunks ahead."""

    def submit(chunk: Chunk) -> _Reading[P]:
        return _Reading(chunk, {job.name: pool.submit(_read, stages, job) for job in chunk.first})

    queue: deque[_Reading[P]] = deque()
    for chunk in chunks:
        queue.append(submit(chunk))
        if len(queue) > CHUNKS_AHEAD:
            yield _gather(stages, queue.popleft(), pool)
    while queue:
        yield _gather(stages, queue.popleft(), pool)


def _gather(
    stages: Stages[P, C], reading: _Reading[P], pool: ThreadPoolExecutor
) -> tuple[Chunk, dict[str, _Read[P] | Entry]]:
    chunk = reading.chunk
    found = {name: future.result() for name, future in reading.futures.items()}
    rest = [job for job in chunk.jobs if job.name not in found]
    if rest and any(isinstance(item, _Read) for item in found.values()):
        found |= {item[0].name: item[1] for item in zip(rest, pool.map(lambda j: _read(stages, j), rest), strict=True)}
    return chunk, found


def _compute(stages: Stages[P, C], chunk: Chunk, found: dict[str, _Read[P] | Entry]) -> tuple[dict[str, C], float]:
    """Results by name of a whole chunk, and seconds a photo."""
    read = [item for job in chunk.jobs if isinstance(item := found.get(job.name), _Read)]
    if not read:
        return {}, 0.0
    start = time.perf_counter()
    results = stages.compute([item.photo for item in read])
    seconds = (time.perf_counter() - start) / len(read)
    return {item.job.name: c for item, c in zip(read, results, strict=True)}, seconds


def work_through(stages: Stages[P, C], work: Work, chunks: Iterable[Chunk] | None = None) -> Iterator[Entry]:
    """Entries of pending jobs in order, each after its outputs are on disk.

    chunks: some of the work's; all of them by default.

    Raises:
        OutputError: the output folder can't be written.
    """
    with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(WRITERS) as writers:
        writing: deque[Future[Entry] | Entry] = deque()
        try:
            for chunk, found in _read_ahead(stages, iter(work.chunks() if chunks is None else chunks), readers):
                results, seconds = _compute(stages, chunk, found)
                for job in (j for j in chunk.jobs if j.name in chunk.pending):
                    item = found[job.name]
                    if isinstance(item, Entry):
                        writing.append(item)
                    elif work.past.belongs_to_another(job, item.sha256):
                        writing.append(_taken(job, item.sha256, work.past))
                    else:
                        writing.append(writers.submit(_write, stages, item, results[job.name], work.folder, seconds))
                while len(writing) > CHUNKS_AHEAD * work.chunk:
                    yield _settle(writing.popleft())
            while writing:
                yield _settle(writing.popleft())
        finally:
            readers.shutdown(cancel_futures=True)
            writers.shutdown(cancel_futures=True)


def _taken(job: Job, sha256: str, past: Past) -> Entry:
    other = past.entries[job.name].input
    message = f"{job.path}: its name {job.name} is taken by the results of {other}; use another output folder"
    return Entry(str(job.path), job.name, sha256, "failed", error=message)


def _settle(item: "Future[Entry] | Entry") -> Entry:
    return item if isinstance(item, Entry) else item.result()
