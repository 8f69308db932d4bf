"""Resumable runs over many photos: a killed and repeated run gives the same results. Yields events for progress.

Several processes may share a folder, each with its own shard of the chunks and its own manifest; the last one to
finish merges the manifests.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from oodinv.errors import ManifestError, OodinvError, OutputError
from oodinv.imaging.files import REFUSED_NAMES, TEMPORARY
from oodinv.runs import lock, manifest
from oodinv.runs.lock import Claim
from oodinv.runs.manifest import FILE_NAME, Entry, Header
from oodinv.runs.pipeline import C, P, Past, Stages, Work, is_of_one_photo, work_through
from oodinv.runs.sharding import Shard
from oodinv.runs.sources.base import Job

Engine = Callable[[Work], Iterator[Entry]]
"""Processes pending jobs and yields their entries in any order, each after its outputs are on disk."""


@dataclass(frozen=True)
class Started:
    """The run begins: `total` inputs, of which `done` were finished by an earlier run."""

    total: int
    done: int


@dataclass(frozen=True)
class Finished:
    """One input was processed, successfully or not."""

    entry: Entry


Event = Started | Finished


def local(stages: Stages[P, C]) -> Engine:
    """Returns an engine that runs the stages in this process."""
    return partial(work_through, stages)


def remade(entry: Entry, make: Callable[[Entry], Iterable[str]], folder: Path) -> Entry:
    """Processes the results of a finished input again; returns its entry with the new outputs, or with its error.

    make: writes files to the folder and returns their paths.

    Raises:
        OutputError: the folder can't be written, so every further input would fail.
    """
    start = time.perf_counter()
    try:
        outputs = list(make(entry))
    except OodinvError as error:
        if isinstance(error, OutputError) and not is_of_one_photo(error, folder):
            raise
        return Entry(entry.input, entry.name, entry.sha256, "failed", error=str(error))
    seconds = round(time.perf_counter() - start, 3)
    return Entry(entry.input, entry.name, entry.sha256, "done", outputs, seconds=seconds)


def _inputs(jobs: Iterable[Job]) -> frozenset[str]:
    """Returns the paths of the photos, both as given and with links resolved."""
    paths = [job.path for job in jobs]
    # unlike `Path.resolve`, realpath doesn't raise on a loop of links
    folders = {folder: os.path.realpath(folder) for folder in {path.parent for path in paths}}
    links = (os.path.realpath(path) for path in paths if path.is_symlink())
    return frozenset([*(str(Path(folders[path.parent], path.name)) for path in paths), *links])


def _remove(folder: Path, outputs: Iterable[str], spared: frozenset[str]) -> None:
    """Removes results, but neither inputs nor files outside the folder that a link leads to."""
    root = Path(os.path.realpath(folder))
    for output in outputs:
        path = folder / output
        parent = Path(os.path.realpath(path.parent))
        if not parent.is_relative_to(root) or str(parent / path.name) in spared:
            continue
        try:
            if path.is_symlink() or path.is_file():
                path.unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in REFUSED_NAMES:  # a file with such a name can't exist
                raise OutputError(f"{path}: can't be removed ({error.strerror}); remove it by hand") from error


@dataclass(frozen=True)
class _Place:
    """Output folder, jobs and shard of a run; without a shard, the run processes all jobs."""

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
        """Lists manifests that no other run is writing: manifest.jsonl and those of parts."""
        busy = () if self.shard is None else lock.others(self.folder, self.shard.part)
        return [FILE_NAME, *sorted({*manifest.part_names(self.folder)} - {*map(manifest.part_name, busy)})]


def _enter(place: _Place, restart: bool) -> tuple[Claim, Past]:
    """Claims the folder and reads its manifests, or creates one.

    Raises:
        ManifestError: the folder holds results of other settings and `restart` is false, or lies among those of
            another run.
        OutputError: another run is at work there, or it can't be written.
    """
    manifest.refuse_among_results(place.folder)
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
    """Removes the results of earlier runs, whatever their settings."""
    spared = _inputs(place.jobs)
    for name in place.resting():
        try:
            found = manifest.read(place.folder, name)
        except ManifestError:
            found = None  # a damaged manifest lists no results
        if found is not None:
            _remove(place.folder, (output for entry in found[1].values() for output in entry.outputs), spared)
    _unlink(place.folder, place.resting())


def _unlink(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{folder / name}: can't be removed ({error.strerror}); remove it by hand") from error


@contextmanager
def alone_in(folder: Path) -> Iterator[Claim]:
    """Locks an output folder for commands that replace files in it; other runs are refused meanwhile.

    Raises:
        OutputError: another run is at work there, or the folder can't be written.
    """
    with lock.gate(folder):
        claim = lock.claim(folder)
    try:
        yield claim
    finally:
        claim.release()


def _open(place: _Place) -> Past:
    """Reads the entries of earlier and concurrent runs, and starts this run's own manifest."""
    entries: dict[str, Entry] = {}
    for name in [FILE_NAME, *manifest.part_names(place.folder)]:
        entries |= _entries_of(place, name)
    _take_in(place)
    if entries and (place.shard is None or not lock.others(place.folder, place.shard.part)):
        remove_temporary(place.folder)
    if place.shard is not None or not (place.folder / FILE_NAME).is_file():
        manifest.write(place.folder, place.header, [], place.file_name)
    return Past(entries)


def remove_temporary(folder: Path) -> None:
    """Removes temporary files of killed processes. Call it while no other process writes to the folder."""
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not Path(root, name, FILE_NAME).is_file()]  # outputs of other runs
        for name in files:
            if TEMPORARY.fullmatch(name):
                with suppress(OSError):  # harmless leftover
                    Path(root, name).unlink()


def _entries_of(place: _Place, name: str) -> dict[str, Entry]:
    found = manifest.read(place.folder, name)
    if found is None:
        return {}
    manifest.refuse_other(place.folder, found[0], place.header)
    return found[1]


def _take_in(place: _Place) -> None:
    """Merges the manifests of inactive parts into manifest.jsonl in the order of the jobs; drops incomplete lines."""
    names = [name for name in place.resting() if (place.folder / name).is_file()]
    if not names:
        return
    entries: dict[str, Entry] = {}
    for name in names:
        entries |= _entries_of(place, name)
    _drop_renamed(place, entries)
    ordered = [entries.pop(job.name) for job in place.jobs if job.name in entries]
    manifest.write(place.folder, place.header, [*entries.values(), *ordered])
    _unlink(place.folder, (name for name in names if name != FILE_NAME))


def _drop_renamed(place: _Place, entries: dict[str, Entry]) -> None:
    """Removes results of photos that now get another name: once a.png joins a.jpg, `a` of a.jpg becomes `a.jpg`.

    Also of photos that were renamed and are done under the new name.
    """
    names = {job.name for job in place.jobs}
    inputs = {job.path.absolute() for job in place.jobs}
    done = {e.sha256 for e in entries.values() if e.name in names and e.status == "done"}
    stale = [
        e for e in entries.values()
        if e.name not in names
        and (Path(e.input).absolute() in inputs or (e.sha256 in done and not os.path.lexists(e.input)))
    ]  # fmt: skip
    for entry in stale:
        del entries[entry.name]
    kept = {output for entry in entries.values() for output in entry.outputs}
    _remove(place.folder, {o for entry in stale for o in entry.outputs} - kept, _inputs(place.jobs))


def _leave(place: _Place, claim: Claim) -> None:
    """Finishes a completed run: merges and sorts the manifests, unless concurrent shards are still running."""
    claim.verify()
    with lock.gate(place.folder):
        try:
            if place.shard is None or not lock.others(place.folder, place.shard.part):
                _take_in(place)
        finally:
            claim.release()


def run(
    engine: Engine,
    jobs: list[Job],
    folder: Path,
    header: Header,
    *,
    chunk: int,
    restart: bool = False,
    shard: Shard | None = None,
) -> Iterator[Event]:
    """Processes jobs with an engine and yields events; inputs that an earlier run finished are skipped.

    With a shard, processes only its jobs; all shards must be given the same jobs and chunk. The last shard to finish
    merges the manifests.

    Raises:
        ManifestError: the folder holds results of other settings.
        OutputError: the output folder can't be written, is removed meanwhile, or another run is at work there.
        ValueError: `restart` with a shard, which would remove the results of the others.
    """
    if restart and shard is not None:
        raise ValueError("a shard can't restart: it would remove the results of the others")
    place = _Place(folder, header, jobs, shard, chunk)
    claim, past = _enter(place, restart)
    try:
        yield from _work(engine, place, claim, past)
        _leave(place, claim)
    except OutputError:
        claim.verify()  # a file that can't be written because the folder was removed
        raise
    finally:
        claim.release()


def _work(engine: Engine, place: _Place, claim: Claim, past: Past) -> Iterator[Event]:
    jobs, folder = place.own_jobs, place.folder
    done = frozenset(job.name for job in jobs if past.is_done(job, folder))
    yield Started(len(jobs), len(done))
    entries = dict(past.entries)
    spared = _inputs(jobs)
    for entry in engine(Work(jobs, folder, place.chunk, past, done)):
        claim.verify()
        known = entries.get(entry.name)
        if known is None or known.status == "failed" or entry.status == "done" or known.input == entry.input:
            if known is not None and entry.status == "done":
                _remove(folder, set(known.outputs) - set(entry.outputs), spared)
            entries[entry.name] = entry
            manifest.append(folder, entry, place.file_name)
        yield Finished(entry)
