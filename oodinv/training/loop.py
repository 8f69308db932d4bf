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

from torch import Tensor

from oodinv.errors import RecipeError
from oodinv.imaging.encode import write_png
from oodinv.imaging.files import atomic_write
from oodinv.imaging.pixels import to_uint8
from oodinv.recipe.train import Schedule
from oodinv.training import checkpoint
from oodinv.training.data import Faces, Sampler, held_out_batches
from oodinv.training.parallel import ALONE, Team
from oodinv.training.pictures import picture_grid

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
    """What a kind of training has to say for itself. `notes` name the losses that it goes without."""

    notes: tuple[str, ...]

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
    """Linear warm-up, then a half cosine down to the final share, times the steps of `decay` if there are any."""
    warm = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    end = schedule.final_learning_rate_share
    fall = end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(step / schedule.steps, 1.0)))
    stairs = 1.0 if schedule.decay is None else schedule.decay.share ** (step // schedule.decay.every)
    return schedule.learning_rate * warm * fall * stairs


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
    atomic_write(path, lambda file: file.write("".join(kept).encode()))


def _evaluate(task: Task, batches: list[Tensor], output: Path, step: int) -> Evaluated:
    evaluation = task.evaluate(batches)
    grid = output / "grids" / f"{step:07d}.png"
    grid.parent.mkdir(exist_ok=True)
    pictures = picture_grid([row[:GRID_COLUMNS].cpu() for row in evaluation.rows])
    write_png(grid, to_uint8(pictures)[0])
    return Evaluated(step, evaluation.scores, grid)


def _start(task: Task, output: Path, resume: bool, team: Team) -> int:
    """Prepares the output folder; returns the step to go on from."""
    path = output / CHECKPOINT
    if not resume:
        if path.exists():
            raise RecipeError(
                f"{output} holds a run already; go on with --resume, replace it with --restart, or choose another "
                "output folder"
            )
        return 0
    saved = checkpoint.load(path)
    checkpoint.restore(saved, task.parts(), path)
    if team.leads:
        _forget_after(output / LOG, saved.step)
    return saved.step


def run(
    task: Task, faces: Faces, schedule: Schedule, flip: bool, output: Path, resume: bool, team: Team = ALONE
) -> Iterator[Event]:
    """Trains until `schedule.steps`, yielding events. Killed and resumed, it gives the same losses.

    Only the team's leader writes files and yields events other than `Logged`.

    Raises:
        WeightsError: `resume` is asked for and there is no usable checkpoint in `output`.
        RecipeError: it isn't asked for, and there is a checkpoint; or the team can't share the batch.
    """
    output.mkdir(parents=True, exist_ok=True)
    path = output / CHECKPOINT
    start = _start(task, output, resume, team)
    batch = min(schedule.batch, len(faces.train))
    if batch % team.size:
        raise RecipeError(f"{team.size} processes can't share batches of {batch} evenly; add images")
    if task.notes and team.leads:
        _append(output / LOG, {"step": start, "notes": list(task.notes)})
    sampler = Sampler(len(faces.train), batch, schedule.seed, flip)
    batches = held_out_batches(faces, schedule.batch, EVALUATION_LIMIT)
    clock, since = time.perf_counter(), start
    for step in range(start, schedule.steps):
        images = team.share(sampler.draw(faces.train, step))
        losses = task.step(images, step, learning_rate(schedule, step))
        done = step + 1
        last = done == schedule.steps
        if done % schedule.log_every == 0 or last:
            speed = (done - since) * batch / (time.perf_counter() - clock)
            if team.leads:
                _append(output / LOG, {"step": done, **losses, "images_per_second": round(speed, 2)})
            yield Logged(done, losses, speed)
            clock, since = time.perf_counter(), done
        if team.leads and (done % schedule.evaluate_every == 0 or last):
            evaluated = _evaluate(task, batches, output, done)
            _append(output / LOG, {"step": done, "held_out": evaluated.scores})
            yield evaluated
            clock, since = time.perf_counter(), done
        if team.leads and (done % schedule.checkpoint_every == 0 or last):
            checkpoint.save(path, done, task.parts(), task.notes)
            yield Saved(done, task.export(output / "model"))
            clock, since = time.perf_counter(), done


def forget(output: Path) -> None:
    """Removes what an earlier run left in a folder: its log, grids and checkpoint. Faces stay cached."""
    for path in (output / CHECKPOINT, output / LOG, *sorted((output / "grids").glob("*.png"))):
        path.unlink(missing_ok=True)
