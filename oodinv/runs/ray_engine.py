"""Runs on a cluster: Ray Data hands out chunks to actors, each of which works as a run on one machine does.

All machines must see inputs and output under the same paths. A chunk that an actor was lost with is given to another,
which makes the same files again; what came of finished chunks is kept.
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
"""Chunks handed out together, so that an actor reads and writes some while it computes another."""
CPUS_A_WORKER = 2


@dataclass(frozen=True)
class Workers:
    """How many actors, and what each is given: whole GPUs, and CPUs, which are also its threads."""

    count: int
    cpus: int
    gpus: int


def start(count: int | None, device: str) -> Workers:
    """Joins the cluster that RAY_ADDRESS names, or starts one on this machine; plans workers for it.

    count: of workers; by default one a GPU, and without GPUs one for every `CPUS_A_WORKER` CPUs. device: as `--device`
    names it.

    Raises:
        OodinvError: Ray is not installed, no cluster answers, or it has too little for so many workers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns of how Ray Data itself restarts actors
    try:
        import ray
    except ImportError as error:
        raise OodinvError("--engine ray needs Ray, which is not installed; pip install 'oodinv[ray]'") from error
    if not ray.is_initialized():
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            address = os.environ.get("RAY_ADDRESS", "this machine")
            raise OodinvError(f"no Ray cluster on {address}: {error}; check RAY_ADDRESS") from error
    return plan(count, device, ray.cluster_resources())


def plan(count: int | None, device: str, resources: dict[str, float]) -> Workers:
    """Workers for a cluster with these resources; arguments as for `start`.

    Raises:
        OodinvError: it has fewer GPUs or CPUs than workers.
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
    """An actor: makes its stages once, then works through the chunks that it is handed."""

    def __init__(self, make_stages: Callable[[], Stages[P, C]], work: Work) -> None:
        self.make_stages, self.work = make_stages, work
        self.chunks = list(work.chunks())

    @cached_property
    def stages(self) -> Stages[P, C]:
        """Made when first asked for: where that fails, the run is to end with the reason."""
        return self.make_stages()

    def __call__(self, batch: dict[str, "np.ndarray[Any, Any]"]) -> Iterator[dict[str, list[str]]]:
        """{"first": [index of a chunk]} → {"entry": [JSON]}, or {"entry": [JSON of an error's text]} and an end."""
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
    """An engine for `runner.run_on`. `make_stages` is called on each worker, with the devices that it was given."""

    make_stages: Callable[[], Stages[P, C]]
    workers: Workers

    def __call__(self, work: Work) -> Iterator[Entry]:
        """Entries of pending jobs as workers end them.

        Raises:
            OodinvError: a worker ends with an error that no photo is to blame for, such as a full disk.
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
