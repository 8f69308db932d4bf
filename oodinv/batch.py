"""Runs over many photos: reading, computing and writing overlap; killed and repeated, a run ends the same.

Photos are taken in chunks of consecutive inputs, and a chunk is always computed as a whole: what an image's
neighbours in a batch are never depends on where an earlier run was stopped, so results are the same to the
last bit. The library yields events; commands draw them.

Several processes may share a folder, each with a share of the chunks and a manifest of its own; the last one to
end takes these into the one manifest.
"""

import errno
import hashlib
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from oodinv import lock, manifest
from oodinv.errors import ImageError, ManifestError, OodinvError, OutputError
from oodinv.inputs import Job
from oodinv.lock import Claim
from oodinv.manifest import FILE_NAME, Entry, Header
from oodinv.shard import Shard

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


@dataclass(frozen=True)
class Started:
    """The run begins: `total` inputs, of which `done` were finished by an earlier run."""

    total: int
    done: int


@dataclass(frozen=True)
class Finished:
    """One input has come to its end, good or bad."""

    entry: Entry


Event = Started | Finished


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
    return Entry(str(job.path), job.name, sha256, "failed", error=message, seconds=seconds)


def _write(stages: Stages[P, C], read: _Read[P], results: C, folder: Path, computing: float) -> Entry:
    start = time.perf_counter()
    try:
        outputs = stages.write(results, folder)
    except OutputError:
        raise  # the folder's fault: going on would fail every photo
    except OodinvError as error:
        return _failure(read.job, read.sha256, str(error), start)
    except Exception as error:  # as in `_read`
        return _failure(read.job, read.sha256, f"{read.job.path}: unexpected {type(error).__name__}: {error}", start)
    seconds = round(read.seconds + computing + time.perf_counter() - start, 3)
    return Entry(str(read.job.path), read.job.name, read.sha256, "done", outputs, seconds=seconds)


@dataclass(frozen=True)
class _Past:
    """What an earlier run left in the folder."""

    entries: dict[str, Entry]

    def is_done(self, job: Job, folder: Path) -> bool:
        """Whether the job's results are there and its photo is the one they were made of."""
        entry = self.entries.get(job.name)
        if entry is None or entry.status != "done":
            return False
        try:
            if not all((folder / output).is_file() for output in entry.outputs):
                return False
            return entry.sha256 == hashlib.sha256(read_bytes(job.path)).hexdigest()
        except (ImageError, OSError):
            return False

    def belongs_to_another(self, job: Job) -> bool:
        """Whether the name is taken by the results of another photo."""
        entry = self.entries.get(job.name)
        return entry is not None and entry.status == "done" and _real(Path(entry.input)) != _real(job.path)

    def has_failed(self, job: Job) -> bool:
        """Whether an earlier run failed on this job."""
        entry = self.entries.get(job.name)
        return entry is not None and entry.status == "failed"


def _real(path: Path) -> str:
    """The path with links followed as far as they lead; unlike `Path.resolve`, a loop of links is no error."""
    return os.path.realpath(path)


def _inputs(jobs: Iterable[Job]) -> frozenset[str]:
    """Where the photos themselves are, links followed and not."""
    paths = [job.path for job in jobs]
    folders = {folder: _real(folder) for folder in {path.parent for path in paths}}
    links = (_real(path) for path in paths if path.is_symlink())
    return frozenset([*(str(Path(folders[path.parent], path.name)) for path in paths), *links])


def _remove(folder: Path, outputs: Iterable[str], spared: frozenset[str]) -> None:
    """Removes results, but nothing that a link puts outside the folder, and no input."""
    root = Path(_real(folder))
    for output in outputs:
        path = folder / output
        parent = Path(_real(path.parent))
        if not parent.is_relative_to(root) or str(parent / path.name) in spared:
            continue
        try:
            if path.is_symlink() or path.is_file():
                path.unlink(missing_ok=True)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # such a file can't be
                raise OutputError(f"{path}: can't be removed ({error.strerror}); remove it by hand") from error


@dataclass(frozen=True)
class _Place:
    """Where a run works: the folder, its share of the jobs (all of them without a shard), and its manifest."""

    folder: Path
    header: Header
    jobs: list[Job]
    shard: Shard | None
    chunk: int

    @property
    def file_name(self) -> str:
        return FILE_NAME if self.shard is None else manifest.part_name(self.shard.part)

    @property
    def own_jobs(self) -> list[Job]:
        return self.jobs if self.shard is None else self.shard.of(self.jobs, self.chunk)

    def claim(self) -> Claim:
        if self.shard is None:
            return lock.claim(self.folder)
        return lock.claim(self.folder, self.shard.part, self.shard.plan(self.jobs, self.chunk))

    def resting(self) -> list[str]:
        """Manifests that no other run is writing: the one, and those of parts."""
        busy = () if self.shard is None else lock.others(self.folder, self.shard.part)
        return [FILE_NAME, *sorted({*manifest.part_names(self.folder)} - {*map(manifest.part_name, busy)})]


def _enter(place: _Place, restart: bool) -> tuple[Claim, _Past]:
    """Claims the folder and takes up its manifests, or starts one.

    Raises:
        ManifestError: the folder holds results of other settings, and `restart` isn't asked for.
        OutputError: another run is at work there, or it can't be written.
    """
    with lock.gate(place.folder):
        claim = place.claim()
        try:
            if restart:
                _clear(place)
            past = _open(place)
        except BaseException:
            claim.release()
            raise
        return claim, past


def _clear(place: _Place) -> None:
    """Removes what earlier runs left, whatever their settings."""
    spared = _inputs(place.jobs)
    for name in place.resting():
        try:
            found = manifest.read(place.folder, name)
        except ManifestError:
            found = None  # garbage names no results
        if found is not None:
            _remove(place.folder, (output for entry in found[1].values() for output in entry.outputs), spared)
    _unlink(place.folder, place.resting())


def _unlink(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{folder / name}: can't be removed ({error.strerror}); remove it by hand") from error


def _open(place: _Place) -> _Past:
    """What earlier runs did and runs beside this one have done so far; starts this run's own manifest."""
    entries: dict[str, Entry] = {}
    for name in [FILE_NAME, *manifest.part_names(place.folder)]:
        entries |= _entries_of(place, name)
    _take_in(place)
    if place.shard is not None or not (place.folder / FILE_NAME).is_file():
        manifest.write(place.folder, place.header, [], place.file_name)
    return _Past(entries)


def _entries_of(place: _Place, name: str) -> dict[str, Entry]:
    found = manifest.read(place.folder, name)
    if found is None:
        return {}
    if (change := manifest.difference(found[0], place.header)) is not None:
        raise ManifestError(
            f"{place.folder} holds results made otherwise: {change}. Use the same settings to go on, --restart to "
            "replace the results, or another output folder"
        )
    return found[1]


def _take_in(place: _Place) -> None:
    """Writes the one manifest anew, with what resting parts have, in the order of the jobs; drops torn lines."""
    names = [name for name in place.resting() if (place.folder / name).is_file()]
    if not names:
        return
    entries: dict[str, Entry] = {}
    for name in names:
        entries |= _entries_of(place, name)
    ordered = [entries.pop(job.name) for job in place.jobs if job.name in entries]
    manifest.write(place.folder, place.header, [*entries.values(), *ordered])
    _unlink(place.folder, (name for name in names if name != FILE_NAME))


def _leave(place: _Place, claim: Claim) -> None:
    """Ends a run that came to its end: puts the manifest in order, unless runs beside this one will."""
    claim.verify()
    with lock.gate(place.folder):
        try:
            if place.shard is None or not lock.others(place.folder, place.shard.part):
                _take_in(place)
        finally:
            claim.release()


@dataclass(frozen=True)
class _Chunk:
    """Consecutive jobs; `pending` are those without results, `first` those to read before deciding."""

    jobs: list[Job]
    pending: frozenset[str]
    first: list[Job]


def _chunks(jobs: list[Job], size: int, past: _Past, done: set[str]) -> Iterator[_Chunk]:
    for start in range(0, len(jobs), size):
        chunk = jobs[start : start + size]
        pending = [job for job in chunk if job.name not in done]
        if not pending:
            continue
        retry = all(past.has_failed(job) for job in pending)
        yield _Chunk(chunk, frozenset(job.name for job in pending), pending if retry else chunk)


@dataclass(frozen=True)
class _Reading(Generic[P]):
    chunk: _Chunk
    futures: dict[str, "Future[_Read[P] | Entry]"]


def _read_ahead(
    stages: Stages[P, C], chunks: Iterator[_Chunk], pool: ThreadPoolExecutor
) -> Iterator[tuple[_Chunk, dict[str, _Read[P] | Entry]]]:
    """Chunks with what was read of each job, in order, a bounded number of chunks ahead."""

    def submit(chunk: _Chunk) -> _Reading[P]:
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
) -> tuple[_Chunk, dict[str, _Read[P] | Entry]]:
    chunk = reading.chunk
    found = {name: future.result() for name, future in reading.futures.items()}
    rest = [job for job in chunk.jobs if job.name not in found]
    if rest and any(isinstance(item, _Read) for item in found.values()):
        found |= {item[0].name: item[1] for item in zip(rest, pool.map(lambda j: _read(stages, j), rest), strict=True)}
    return chunk, found


def _compute(stages: Stages[P, C], chunk: _Chunk, found: dict[str, _Read[P] | Entry]) -> tuple[dict[str, C], float]:
    """Results by name of a whole chunk, and seconds a photo."""
    read = [item for job in chunk.jobs if isinstance(item := found.get(job.name), _Read)]
    if not read:
        return {}, 0.0
    start = time.perf_counter()
    results = stages.compute([item.photo for item in read])
    seconds = (time.perf_counter() - start) / len(read)
    return {item.job.name: c for item, c in zip(read, results, strict=True)}, seconds


def _entries(
    stages: Stages[P, C], jobs: list[Job], folder: Path, size: int, past: _Past, done: set[str]
) -> Iterator[Entry]:
    """Entries of pending jobs in order, each after its outputs are on disk."""
    with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(WRITERS) as writers:
        writing: deque[Future[Entry] | Entry] = deque()
        try:
            for chunk, found in _read_ahead(stages, _chunks(jobs, size, past, done), readers):
                results, seconds = _compute(stages, chunk, found)
                for job in (j for j in chunk.jobs if j.name in chunk.pending):
                    item = found[job.name]
                    if isinstance(item, Entry):
                        writing.append(item)
                    elif past.belongs_to_another(job):
                        writing.append(_taken(job, item.sha256, past))
                    else:
                        writing.append(writers.submit(_write, stages, item, results[job.name], folder, seconds))
                while len(writing) > CHUNKS_AHEAD * size:
                    yield _settle(writing.popleft())
            while writing:
                yield _settle(writing.popleft())
        finally:
            readers.shutdown(cancel_futures=True)
            writers.shutdown(cancel_futures=True)


def _taken(job: Job, sha256: str, past: _Past) -> Entry:
    other = past.entries[job.name].input
    message = f"{job.path}: its name {job.name} is taken by the results of {other}; use another output folder"
    return Entry(str(job.path), job.name, sha256, "failed", error=message)


def _settle(item: "Future[Entry] | Entry") -> Entry:
    return item if isinstance(item, Entry) else item.result()


def run(
    stages: Stages[P, C],
    jobs: list[Job],
    folder: Path,
    header: Header,
    *,
    chunk: int,
    restart: bool = False,
    shard: Shard | None = None,
) -> Iterator[Event]:
    """Works through jobs, yielding events; an earlier run's results are kept and not made again.

    With a shard only its share of the jobs; all shares must be given the same jobs and chunk. The last of those
    that run at one time writes the manifest of all.

    Raises:
        ManifestError: the folder holds results of other settings.
        OutputError: the output folder can't be written, is removed meanwhile, or another run is at work there.
        ValueError: a shard is to restart, which would remove the others' results.
    """
    if restart and shard is not None:
        raise ValueError("a shard can't restart: it would remove the results of the others")
    place = _Place(folder, header, jobs, shard, chunk)
    claim, past = _enter(place, restart)
    try:
        yield from _work(stages, place, claim, past)
        _leave(place, claim)
    finally:
        claim.release()


def _work(stages: Stages[P, C], place: _Place, claim: Claim, past: _Past) -> Iterator[Event]:
    jobs, folder = place.own_jobs, place.folder
    done = {job.name for job in jobs if past.is_done(job, folder)}
    yield Started(len(jobs), len(done))
    entries = dict(past.entries)
    spared = _inputs(jobs)
    for entry in _entries(stages, jobs, folder, place.chunk, past, done):
        claim.verify()
        known = entries.get(entry.name)
        if known is None or known.status == "failed" or entry.status == "done" or known.input == entry.input:
            if known is not None and entry.status == "done":
                _remove(folder, set(known.outputs) - set(entry.outputs), spared)
            entries[entry.name] = entry
            manifest.append(folder, entry, place.file_name)
        yield Finished(entry)
