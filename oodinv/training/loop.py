"""The training loop of all tasks: batches, log, evaluation, pictures of held-out faces, checkpoints."""

import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from oodinv.errors import RecipeError
from oodinv.imaging.encode import write_png
from oodinv.imaging.files import atomic_write
from oodinv.imaging.pixels import to_uint8
from oodinv.recipe.train import Schedule
from oodinv.training import checkpoint
from oodinv.training.data import Faces, Sampler, StepBatches, held_out_batches, training_batches
from oodinv.training.parallel import ALONE, Team
from oodinv.training.pictures import picture_grid

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
EVALUATION_LIMIT = 512
"""Largest number of held-out faces in an evaluation."""
GRID_COLUMNS = 12


@dataclass(frozen=True)
class Evaluation:
    """Mean scores over held-out faces, and rows of pictures, each (B, 3, S, S) in [−1, 1], for the grid."""

    scores: dict[str, float]
    pictures: list[Tensor]


class Task(Protocol):
    """A training task. notes: losses skipped because their networks are missing."""

    notes: tuple[str, ...]

    def parts(self) -> dict[str, checkpoint.Stateful]:
        """Modules and optimisers by name; their states make up a checkpoint."""
        ...

    def step(self, images: Tensor, step: int, learning_rate: float) -> dict[str, float]:
        """One update on images (B, 3, S, S) in [−1, 1]; returns its losses."""
        ...

    def evaluate(self, batches: Iterable[Tensor]) -> Evaluation:
        """Scores the averaged weights on held-out faces."""
        ...

    def export(self, folder: Path) -> Path:
        """Writes the averaged weights and a model card; returns the card's path."""
        ...


@dataclass(frozen=True)
class Started:
    """Training begins after `step` steps, of `steps` in all, with batches of `batch` images."""

    step: int
    steps: int
    batch: int


@dataclass(frozen=True)
class Logged:
    """Losses of one step, and the speed since the last such event."""

    step: int
    losses: dict[str, float]
    images_per_second: float


@dataclass(frozen=True)
class Evaluated:
    """Scores on held-out faces, and the file of their picture grid."""

    step: int
    scores: dict[str, float]
    grid: Path


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written and the model exported."""

    step: int
    card: Path


@dataclass(frozen=True)
class Stopped:
    """Training was stopped after `step` steps, before its end; the checkpoint is written."""

    step: int


Event = Started | Logged | Evaluated | Saved | Stopped


def learning_rate(schedule: Schedule, step: int) -> float:
    """Learning rate of a step: linear warm-up, half cosine to the final share, times the steps of `decay`."""
    warm = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    end = schedule.final_learning_rate_share
    fall = end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(step / schedule.steps, 1.0)))
    stairs = 1.0 if schedule.decay is None else schedule.decay.share ** (step // schedule.decay.every)
    return schedule.learning_rate * warm * fall * stairs


def _append(path: Path, record: dict[str, object]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _forget_after(path: Path, step: int) -> None:
    """Drops log lines of steps after the last checkpoint, and an incomplete last line."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    atomic_write(path, lambda file: file.write("".join(kept).encode()))


def _evaluate(task: Task, batches: Iterable[Tensor], output: Path, step: int) -> Evaluated:
    evaluation = task.evaluate(batches)
    grid = output / "grids" / f"{step:07d}.png"
    grid.parent.mkdir(exist_ok=True)
    pictures = picture_grid([row[:GRID_COLUMNS].cpu() for row in evaluation.pictures])
    write_png(grid, to_uint8(pictures)[0])
    return Evaluated(step, evaluation.scores, grid)


def _start(task: Task, output: Path, resume: bool, team: Team) -> int:
    """Restores the checkpoint if `resume`; returns the step to start from."""
    path = output / CHECKPOINT
    if not resume:
        if path.exists():
            raise RecipeError(
                f"{output} holds a run already; continue it with --resume, replace it with --restart, or choose "
                "another output folder"
            )
        return 0
    saved = checkpoint.load(path)
    checkpoint.restore(saved, task.parts(), path)
    if team.leads:
        _forget_after(output / LOG, saved.step)
    return saved.step


def _batches(
    faces: Faces | None, schedule: Schedule, flip: bool, start: int, team: Team, workers: int
) -> tuple[Iterable[Tensor], Iterable[Tensor]]:
    """Batches of the steps from `start` on, and of held-out faces."""
    if faces is None:
        return itertools.repeat(torch.empty(schedule.batch // team.size, 0), schedule.steps - start), ()
    sampler = Sampler(len(faces.train), min(schedule.batch, len(faces.train)), schedule.seed, flip)
    steps = StepBatches(sampler, start, schedule.steps, team.rank, team.size)
    return training_batches(faces, steps, workers), held_out_batches(faces, schedule.batch, EVALUATION_LIMIT)


def never() -> bool:
    """Returns False, so that training continues."""
    return False


def run(
    task: Task,
    faces: Faces | None,
    schedule: Schedule,
    flip: bool,
    output: Path,
    resume: bool,
    team: Team = ALONE,
    *,
    stop: Callable[[], bool] = never,
    workers: int = 0,
) -> Iterator[Event]:
    """Trains until `schedule.steps`, yielding events. Losses of a killed and resumed run equal those without a stop.

    Only the team's leader writes files and yields events of evaluations and checkpoints.

    Args:
        task: the training task.
        faces: training and held-out faces; None for a task without photos, whose batches are empty images.
        schedule: steps, batch and intervals.
        flip: mirrors half of the faces.
        output: folder for log, grids, checkpoint and model.
        resume: continues from the checkpoint in `output`.
        team: the processes that share each batch.
        stop: called after each step; training ends with a checkpoint once it returns True in any process of the team.
        workers: processes that read batches ahead.

    Raises:
        WeightsError: `resume`, and there is no usable checkpoint in `output`.
        RecipeError: not `resume`, and there is a checkpoint; or the team can't share the batch.
    """
    output.mkdir(parents=True, exist_ok=True)
    path = output / CHECKPOINT
    start = _start(task, output, resume, team)
    batch = schedule.batch if faces is None else min(schedule.batch, len(faces.train))
    if batch % team.size:
        raise RecipeError(f"{team.size} processes can't share batches of {batch} evenly; add images")
    if task.notes and team.leads:
        _append(output / LOG, {"step": start, "notes": list(task.notes)})
    batches, held_out = _batches(faces, schedule, flip, start, team, workers)
    yield Started(start, schedule.steps, batch)
    clock, since = time.perf_counter(), start
    for step, images in enumerate(batches, start=start):
        losses = task.step(images, step, learning_rate(schedule, step))
        done = step + 1
        stopped = team.any(stop())
        last = done == schedule.steps or stopped
        if done % schedule.log_every == 0 or last:
            speed = (done - since) * batch / (time.perf_counter() - clock)
            if team.leads:
                _append(output / LOG, {"step": done, **losses, "images_per_second": round(speed, 2)})
            yield Logged(done, losses, speed)
            clock, since = time.perf_counter(), done
        if team.leads and not stopped and (done % schedule.evaluate_every == 0 or last):
            evaluated = _evaluate(task, held_out, output, done)
            _append(output / LOG, {"step": done, "held_out": evaluated.scores})
            yield evaluated
            clock, since = time.perf_counter(), done
        if team.leads and (done % schedule.checkpoint_every == 0 or last):
            checkpoint.save(path, done, task.parts(), task.notes)
            yield Saved(done, task.export(output / "model"))
            clock, since = time.perf_counter(), done
        if stopped:
            yield Stopped(done)
            return


def forget(output: Path) -> None:
    """Removes the log, grids and checkpoint of an earlier run from a folder; decoded faces stay cached."""
    for path in (output / CHECKPOINT, output / LOG, *sorted((output / "grids").glob("*.png"))):
        path.unlink(missing_ok=True)
