"""The training loop that every task shares: batches, log, evaluation, pictures, checkpoints.

It yields what happens; the command draws it.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from oodinv import image
from oodinv.errors import RecipeError
from oodinv.recipe import Schedule
from oodinv.training import checkpoint
from oodinv.training.data import Faces, Sampler, held_out_batches

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
EVALUATION_LIMIT = 512
"""Held-out faces looked at in each evaluation."""
GRID_COLUMNS = 12


@dataclass(frozen=True)
class Evaluation:
    """Means over held-out faces, and rows of pictures (each (B, 3, S, S) in [−1, 1]) to look at."""

    scores: dict[str, float]
    rows: list[Tensor]


class Task(Protocol):
    """What a kind of training has to say for itself."""

    def parts(self) -> dict[str, checkpoint.Stateful]:
        """Modules and optimisers by name: all that a checkpoint holds."""
        ...

    def step(self, images: Tensor, step: int, learning_rate: float) -> dict[str, float]:
        """One update on images (B, 3, S, S) in [−1, 1]; returns its losses."""
        ...

    def evaluate(self, batches: list[Tensor]) -> Evaluation:
        """Scores the averaged weights on held-out faces."""
        ...

    def export(self, folder: Path) -> Path:
        """Writes the averaged weights and a model card; returns the card's path."""
        ...


@dataclass(frozen=True)
class Logged:
    """Losses of one step, and speed since the last such event."""

    step: int
    losses: dict[str, float]
    images_per_second: float


@dataclass(frozen=True)
class Evaluated:
    """Scores on held-out faces, and the picture grid that shows some of them."""

    step: int
    scores: dict[str, float]
    grid: Path


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written and the model exported."""

    step: int
    card: Path


Event = Logged | Evaluated | Saved


def learning_rate(schedule: Schedule, step: int) -> float:
    """Linear warm-up, then a half cosine down to the final share."""
    warm = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    end = schedule.final_learning_rate_share
    fall = end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(step / schedule.steps, 1.0)))
    return schedule.learning_rate * warm * fall


def picture_grid(rows: list[Tensor]) -> Tensor:
    """Rows of equally sized pictures (B, 3, S, S) → one picture (1, 3, rows · S, B · S)."""
    return torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)[None]


def _append(path: Path, record: dict[str, object]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _forget_after(path: Path, step: int) -> None:
    """Drops log lines of steps that a stopped run took after its last checkpoint, and a torn last line."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    image.atomic_write(path, lambda file: file.write("".join(kept).encode()))


def _evaluate(task: Task, batches: list[Tensor], output: Path, step: int) -> Evaluated:
    evaluation = task.evaluate(batches)
    grid = output / "grids" / f"{step:07d}.png"
    grid.parent.mkdir(exist_ok=True)
    pictures = picture_grid([row[:GRID_COLUMNS].cpu() for row in evaluation.rows])
    image.write_png(grid, image.to_uint8(pictures)[0])
    return Evaluated(step, evaluation.scores, grid)


def run(task: Task, faces: Faces, schedule: Schedule, flip: bool, output: Path, resume: bool) -> Iterator[Event]:
    """Trains until `schedule.steps`, yielding events. Killed and resumed, it gives the same losses.

    Raises:
        WeightsError: `resume` is asked for and there is no usable checkpoint in `output`.
        RecipeError: it isn't asked for, and there is a checkpoint.
    """
    output.mkdir(parents=True, exist_ok=True)
    path = output / CHECKPOINT
    start = 0
    if resume:
        saved = checkpoint.load(path)
        checkpoint.restore(saved, task.parts(), path)
        start = saved.step
        _forget_after(output / LOG, start)
    elif path.exists():
        raise RecipeError(f"{output} holds a run already; go on with --resume, or choose another output folder")
    sampler = Sampler(len(faces.train), min(schedule.batch, len(faces.train)), schedule.seed, flip)
    batches = held_out_batches(faces, schedule.batch, EVALUATION_LIMIT)
    clock, since = time.perf_counter(), start
    for step in range(start, schedule.steps):
        losses = task.step(sampler.draw(faces.train, step), step, learning_rate(schedule, step))
        done = step + 1
        last = done == schedule.steps
        if done % schedule.log_every == 0 or last:
            speed = (done - since) * sampler.batch / (time.perf_counter() - clock)
            _append(output / LOG, {"step": done, **losses, "images_per_second": round(speed, 2)})
            yield Logged(done, losses, speed)
            clock, since = time.perf_counter(), done
        if done % schedule.evaluate_every == 0 or last:
            evaluated = _evaluate(task, batches, output, done)
            _append(output / LOG, {"step": done, "held_out": evaluated.scores})
            yield evaluated
            clock, since = time.perf_counter(), done
        if done % schedule.checkpoint_every == 0 or last:
            checkpoint.save(path, done, task.parts())
            yield Saved(done, task.export(output / "model"))
            clock, since = time.perf_counter(), done
