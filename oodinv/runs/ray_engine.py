"""Runs on a Ray cluster: Ray Data distributes chunks to actors, each of which runs the same pipeline as a local run.

All machines must see inputs and output under the same paths. If an actor dies, its chunk is computed again by another
with identical results; finished chunks are not repeated.
"""

import json
import logging
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic

from oodinv.errors import OodinvError
from oodinv.runs.manifest import Entry
from oodinv.runs.pipeline import C, P, Stages, Work, work_through

if TYPE_CHECKING:
    import numpy as np

CHUNKS_A_TASK = 4
"""Chunks in one task, so that an actor reads and writes some while it computes another."""
CPUS_A_WORKER = 2


@dataclass(frozen=True)
class Workers:
    """Number of actors, and the resources of each: whole GPUs, and CPUs, which is also its number of threads."""

    count: int
    cpus: int
    gpus: int


def start(count: int | None, device: str) -> Workers:
    """Joins the cluster at RAY_ADDRESS, or starts one on this machine, and plans its workers.

    count: number of workers; by default one per GPU, or without GPUs one per `CPUS_A_WORKER` CPUs. device: a value of
    `--device`.

    Raises:
        OodinvError: Ray is not installed, no cluster answers, or it has too few resources for `count` workers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # hides warnings about Ray Data's own restarts of actors
    try:
        import ray
    except ImportError as error:
        raise OodinvError("--engine ray needs Ray, which is not installed; pip install 'oodinv[ray]'") from error
    if not ray.is_initialized():
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # what Ray raises where its own processes don't start is a plain Exception
            address = os.environ.get("RAY_ADDRESS", "this machine")
            raise OodinvError(
                f"no Ray cluster on {address}: {error}; check RAY_ADDRESS, or leave out --engine"
            ) from error
    return plan(count, device, ray.cluster_resources())


def plan(count: int | None, device: str, resources: dict[str, float]) -> Workers:
    """Plans the workers of a cluster with these resources; arguments as for `start`.

    Raises:
        OodinvError: the cluster has fewer GPUs or CPUs than workers.
    """
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    on_gpus = device != "cpu" and gpus > 0
    if device.startswith("cuda") and not on_gpus:
        raise OodinvError("the Ray cluster has no GPU; use --device cpu, or check RAY_ADDRESS")
    most = min(cpus, gpus) if on_gpus else cpus
    chosen = count or (most if on_gpus else max(1, cpus // CPUS_A_WORKER))
    if chosen > most:
        kind = "GPUs" if on_gpus else "CPUs"
        raise OodinvError(f"the Ray cluster has {most} {kind}, too few for {chosen} workers; use --workers {most}")
    return Workers(chosen, max(1, min(CPUS_A_WORKER, cpus // chosen)), int(on_gpus))


class Worker(Generic[P, C]):
    """An actor: builds its stages once, then processes the chunks that it receives."""

    def __init__(self, make_stages: Callable[[], Stages[P, C]], work: Work) -> None:
        self.make_stages, self.work = make_stages, work
        self.chunks = list(work.chunks())

    @cached_property
    def stages(self) -> Stages[P, C]:
        """Builds the stages on first use, so that a failure ends the run with its error message."""
        return self.make_stages()

    def __call__(self, batch: dict[str, "np.ndarray[Any, Any]"]) -> Iterator[dict[str, list[str]]]:
        """Maps {"first": [chunk index]} to {"entry": [JSON]}; after an error, one {"entry": [JSON of its text]}."""
        for first in batch["first"]:
            chunks = islice(self.chunks, int(first), int(first) + CHUNKS_A_TASK)
            try:
                for entry in work_through(self.stages, self.work, chunks):
                    yield {"entry": [json.dumps(asdict(entry))]}
            except OodinvError as error:
                yield {"entry": [json.dumps(str(error))]}
                return


@dataclass(frozen=True)
class Cluster(Generic[P, C]):
    """An engine for `runner.run`. `make_stages` is called on each worker with the devices assigned to it."""

    make_stages: Callable[[], Stages[P, C]]
    workers: Workers

    def __call__(self, work: Work) -> Iterator[Entry]:
        """Yields the entries of pending jobs as workers finish them.

        Raises:
            OodinvError: a worker failed for a reason other than a photo, such as a full disk.
        """
        tasks = math.ceil(sum(1 for _ in work.chunks()) / CHUNKS_A_TASK)
        if not tasks:
            return
        for row in self._dataset(work, tasks).iter_rows():
            found = json.loads(row["entry"])
            if isinstance(found, str):
                raise OodinvError(found)
            yield Entry(**found)

    def _dataset(self, work: Work, tasks: int) -> Any:
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = [{"first": task * CHUNKS_A_TASK} for task in range(tasks)]
        return ray.data.from_items(rows, override_num_blocks=tasks).map_batches(
            Worker,
            fn_constructor_args=(self.make_stages, work),
            batch_size=1,
            concurrency=min(self.workers.count, tasks),
            num_cpus=self.workers.cpus,
            num_gpus=self.workers.gpus or None,
        )
