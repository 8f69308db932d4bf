"""Reads, computes and writes chunks of consecutive photos concurrently.

A chunk is always computed as a whole, so that the other images in a batch don't depend on where an earlier run stopped,
and results are bitwise reproducible.
"""

import errno
import hashlib
import os
import tempfile
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
"""Number of chunks that are read ahead, and that wait to be written; bounds memory for folders of any size."""
READERS = 2
WRITERS = 2
MAX_BYTES = 2 << 30
"""Largest input file in bytes; larger files are rejected before they fill memory."""
_OBSTACLES = frozenset({errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})
"""Errors that may concern one file or sub-folder only."""


class Stages(Protocol[P, C]):
    """The three stages of a command: P is the type of a photo that was read, C the type of its results.

    `read` and `write` are called from threads.
    """

    def read(self, job: Job, content: bytes) -> P:
        """Decodes and prepares a photo.

        Raises:
            OodinvError: this photo can't be used.
        """
        ...

    def compute(self, photos: list[P]) -> list[C]:
        """Computes the results of a chunk, in order."""
        ...

    def write(self, results: C, folder: Path) -> list[str]:
        """Writes results and returns their paths relative to the folder.

        Raises:
            OodinvError: the results can't be written.
        """
        ...


@runtime_checkable
class Remarking(Protocol):
    """Stages that report remarks about finished photos."""

    def remarks(self, results: Any) -> list[str]:
        """Returns remarks on a photo's results, such as skipped faces."""
        ...


def is_of_one_photo(error: OutputError, folder: Path) -> bool:
    """True if results can't be written for a reason that other photos don't share, such as a read-only sub-folder.

    False if the output folder itself, or the folder in it for this kind of results, is unusable.
    """
    cause = error.__cause__
    if not isinstance(cause, OSError) or cause.errno not in _OBSTACLES or not isinstance(cause.filename, str):
        return False
    path = Path(cause.filename)
    if not path.is_relative_to(folder):
        return False
    try:
        with tempfile.TemporaryFile(dir=folder / path.relative_to(folder).parts[0]):
            return True
    except OSError:
        return False


@dataclass(frozen=True)
class _Read(Generic[P]):
    job: Job
    sha256: str
    photo: P
    seconds: float


def read_bytes(path: Path) -> bytes:
    """Reads a file.

    Raises:
        ImageError: it is missing, not a regular file, larger than MAX_BYTES, unreadable, or changes while it is read.
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
    except Exception as error:  # one bad photo must not stop the others; the type's name helps debugging
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
    except OutputError as error:
        if not is_of_one_photo(error, folder):
            raise
        return _failure(read.job, read.sha256, str(error), start)
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
    """Entries of earlier runs in the folder, by name."""

    entries: dict[str, Entry]

    def is_done(self, job: Job, folder: Path) -> bool:
        """True if the job's results are complete and its photo hasn't changed since, or is missing by now."""
        entry = self.entries.get(job.name)
        if entry is None or not entry.is_complete(folder):
            return False
        if job.path == job.crop and entry.sha256 == job.photo_sha256:
            return True
        try:
            return entry.sha256 == hashlib.sha256(read_bytes(job.path)).hexdigest()
        except ImageError:
            return False

    def belongs_to_another(self, job: Job, sha256: str) -> bool:
        """True if the name belongs to the results of another photo (not of this one, changed or moved, or its crop)."""
        entry = self.entries.get(job.name)
        if entry is None or entry.status != "done" or entry.sha256 in (sha256, job.photo_sha256):
            return False
        own = {os.path.realpath(path) for path in (job.path, job.crop) if path is not None}
        return os.path.realpath(entry.input) not in own

    def has_failed(self, job: Job) -> bool:
        """True if an earlier run failed on this job."""
        entry = self.entries.get(job.name)
        return entry is not None and entry.status != "done"


@dataclass(frozen=True)
class Work:
    """The work of a run: jobs in chunks of `chunk`, the output `folder`, and the names of jobs already `done`."""

    jobs: list[Job]
    folder: Path
    chunk: int
    past: Past
    done: frozenset[str]

    def chunks(self) -> Iterator["Chunk"]:
        """Chunks that contain pending jobs, in order."""
        for start in range(0, len(self.jobs), self.chunk):
            jobs = self.jobs[start : start + self.chunk]
            pending = [job for job in jobs if job.name not in self.done]
            if not pending:
                continue
            retry = all(self.past.has_failed(job) for job in pending)
            yield Chunk(jobs, frozenset(job.name for job in pending), pending if retry else jobs)


@dataclass(frozen=True)
class Chunk:
    """Consecutive jobs: `pending` have no results yet; `first` are read first, to decide if the chunk is computed."""

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
    """Yields chunks with their photos, in order, reading a bounded number of chunks ahead."""

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
    """Computes a whole chunk; returns its results by name and the seconds per photo."""
    read = [item for job in chunk.jobs if isinstance(item := found.get(job.name), _Read)]
    if not read:
        return {}, 0.0
    start = time.perf_counter()
    results = stages.compute([item.photo for item in read])
    seconds = (time.perf_counter() - start) / len(read)
    return {item.job.name: c for item, c in zip(read, results, strict=True)}, seconds


def work_through(stages: Stages[P, C], work: Work, chunks: Iterable[Chunk] | None = None) -> Iterator[Entry]:
    """Yields the entries of pending jobs in order, each after its outputs are on disk.

    chunks: a subset of the work's chunks; default all.

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
                while writing and (len(writing) > CHUNKS_AHEAD * work.chunk or _is_settled(writing[0])):
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


def _is_settled(item: "Future[Entry] | Entry") -> bool:
    return isinstance(item, Entry) or item.done()


def _settle(item: "Future[Entry] | Entry") -> Entry:
    return item if isinstance(item, Entry) else item.result()
