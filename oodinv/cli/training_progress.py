"""Draws a training run: a progress bar on a terminal, log lines elsewhere. Turns Ctrl-C into a clean stop."""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from oodinv.cli.console import BAR_ROOM, stderr

if TYPE_CHECKING:
    from oodinv.training.data import UnusablePhoto
    from oodinv.training.loop import Event

_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
NAMED = 10
"""Unusable photos that are named; more are only counted."""


@dataclass
class StopRequest:
    """Records that a signal has asked the run to stop; `signal` is its number."""

    signal: int = 0

    def __call__(self) -> bool:
        return self.signal != 0

    @property
    def status(self) -> int:
        """Exit status of a process that ends by the signal."""
        return 128 + self.signal


@contextmanager
def stopping_on_signals(quiet: bool) -> Iterator[StopRequest]:
    """Turns the first SIGINT, SIGTERM or SIGHUP into a request to stop; another signal but SIGHUP stops it at once.

    A SIGHUP that is ignored, as `nohup` has it, stays ignored. After one, nothing is written to the terminal, which is
    gone.
    """
    request = StopRequest()
    terminals = [stream for stream in (0, 1, 2) if os.isatty(stream)]  # a closed one isn't known as one any more
    process = os.getpid()  # processes that read batches ahead inherit the handler, and stay silent

    def note(number: int, _frame: FrameType | None) -> None:
        request.signal = number
        if number == _HANGUP:
            previous[_HANGUP] = signal.SIG_IGN  # a shell that is closed sends another one
        for name in previous:
            signal.signal(name, previous[name])
        if number == _HANGUP and os.getpid() == process:
            _lead_nowhere(terminals)
        elif not quiet and os.getpid() == process:
            stderr.print("stopping after this step; once more to stop at once, without a checkpoint")

    heard = [signal.SIGINT, signal.SIGTERM]  # also where a script has started the run in the background
    if _HANGUP is not None and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
        heard.append(_HANGUP)
    previous = {name: signal.getsignal(name) for name in heard}
    for name in previous:
        signal.signal(name, note)
    try:
        yield request
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)


def _lead_nowhere(streams: list[int]) -> None:
    """Sends streams of a terminal that was closed to nowhere: writing to it would raise OSError."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in streams:
        os.dup2(nowhere, stream)
    os.close(nowhere)


def duration(seconds: float) -> str:
    """A time span for people, such as 2 h 05 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def numbers(values: dict[str, float]) -> str:
    """Losses or scores on one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())


@dataclass
class TrainingSummary:
    """Result of a run for `--json`: the last losses and scores, the card, and the photos that were not used."""

    step: int = 0
    stopped: bool = False
    record: dict[str, Any] = field(default_factory=lambda: {"losses": {}, "held_out": {}, "card": None})

    def to_record(self) -> dict[str, Any]:
        """The fields of the JSON line."""
        return {"step": self.step, "stopped": self.stopped, **self.record}


def draw_reading(progress: "Iterator[tuple[int, int]]", quiet: bool) -> None:
    """Draws the decoding of photos until it ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    lines = not quiet and not stderr.is_terminal
    with Progress(*columns, console=stderr, disable=quiet or lines, transient=True) as bars:
        bar = None
        for done, total in progress:
            bar = bars.add_task("reading photos", total=total) if bar is None else bar
            bars.update(bar, completed=done)
            if lines and (done % max(1, total // 10) == 0 or done == total):
                stderr.print(f"reading photos: {done}/{total}")


def report_unusable(photos: "tuple[UnusablePhoto, ...]", total: int, quiet: bool) -> None:
    """Prints how many photos are not trained on, and names the first of them."""
    if not photos or quiet:
        return
    stderr.print(f"[yellow]note:[/] {len(photos)} photos are left out; {total} faces are used")
    for photo in photos[:NAMED]:
        stderr.print(f"  {escape(photo.error)}")
    if len(photos) > NAMED:
        stderr.print(f"  and {len(photos) - NAMED} more")


def draw_training(events: "Iterator[Event]", quiet: bool) -> TrainingSummary:
    """Draws a run until its events end."""
    from oodinv.training.loop import Evaluated, Logged, Saved, Started, Stopped

    summary = TrainingSummary()
    wide = (BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[speed]}"))
    narrow = (TimeRemainingColumn(compact=True),)
    shown = narrow if stderr.width < BAR_ROOM else wide
    bars = Progress(TextColumn("step"), MofNCompleteColumn(), *shown)
    bar = bars.add_task("", total=None, speed="")
    losses_line = Text(overflow="ellipsis", no_wrap=True)
    lines = not quiet and not stderr.is_terminal
    steps = batch = 0
    drawn = not quiet and not lines
    with Live(Group(bars, losses_line), console=stderr, refresh_per_second=4) if drawn else _nothing():
        for event in events:
            match event:
                case Started(step, steps, batch):
                    bars.reset(bar, total=steps, completed=step)
                    summary.step = step
                case Logged(step, losses, speed):
                    left = duration((steps - step) * batch / speed) if speed else "?"
                    summary.step = step
                    summary.record |= {"losses": losses, "images_per_second": round(speed, 3)}
                    bars.update(bar, completed=step, speed=f"{speed:.1f} images/s")
                    losses_line.plain = numbers(losses)
                    if lines:
                        text = f"step {step}/{steps}  {speed:.1f} images/s  {left} left  {numbers(losses)}"
                        stderr.print(escape(text))
                case Evaluated(step, scores, grid):
                    summary.record |= {"held_out": scores}
                    if not quiet:
                        stderr.print(f"step {step}: held out {numbers(scores)}  {escape(str(grid))}")
                case Saved(step, card):
                    summary.step = step
                    summary.record |= {"card": str(card)}
                    if not quiet:
                        stderr.print(f"step {step}: model {escape(str(card))}")
                case Stopped(step):
                    summary.step, summary.stopped = step, True
    return summary


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def resume_command() -> str:
    """This process's command line, with --resume in place of --restart."""
    rest = [argument for argument in sys.argv[1:] if argument not in ("--restart", "--resume")]
    return shlex.join(["oodinv", *rest, "--resume"])
