"""Turns checked options into the objects that a run needs. Imports torch: only for command bodies."""

import os

import cv2
import torch
import typer

from oodinv import device as devices
from oodinv.faces.detectors import load_detector
from oodinv.faces.detectors.base import Detector
from oodinv.runs.sharding import Shard, launched, parse
from oodinv.runs.sinks import OUTPUTS, Output
from oodinv.weights.pull import pull


def choose_device(name: str) -> torch.device:
    """The device that `--device` names; for `auto` and `cuda` under torchrun, the one of this process (LOCAL_RANK).

    Also fixes how work is split among threads, so that results don't depend on what else goes on.

    Raises:
        typer.BadParameter: there is none of this name.
    """
    _fix_threads()
    try:
        device = devices.choose(name)
        local = os.environ.get("LOCAL_RANK")
        return devices.choose(f"cuda:{local}") if device == torch.device("cuda") and local else device
    except (ValueError, RuntimeError) as error:
        raise typer.BadParameter(str(error), param_hint="--device") from error


def _fix_threads() -> None:
    """Makes the split of work among threads the same whenever a command is repeated: sums end on it.

    OpenCV splits a loop only while no other thread is in one, which is a matter of timing. Photos are read by
    several threads anyway, each of which now does its own loops whole. MKL may take fewer threads than it was
    given until it is told their number.
    """
    cv2.setNumThreads(1)
    torch.set_num_threads(torch.get_num_threads())


def choose_shard(text: str | None, restart: bool) -> Shard | None:
    """The share that `--shard` names, or that torchrun gives this process; None for the whole run.

    Raises:
        typer.BadParameter: it is no share, or is to restart.
    """
    try:
        shard = launched(os.environ) if text is None else parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--shard") from error
    if shard is not None and restart:
        raise typer.BadParameter(
            "a share can't restart, as it would remove the results of the others; remove the output folder first",
            param_hint="--restart",
        )
    return shard


def shard_notes(shard: Shard | None) -> tuple[str, ...]:
    """What the summary should say about a share."""
    if shard is None:
        return ()
    return (f"this was share {shard.index} of {shard.count}, counted from 0; the others are not in these numbers",)


def make_detector(name: str, device: torch.device) -> Detector:
    """The face detector that `--detector` names, its network fetched if need be.

    Raises:
        WeightsError: its network can't be had.
    """
    return load_detector(name, pull, str(device))


def parse_save(text: str) -> frozenset[Output]:
    """The names in `--save`.

    Raises:
        typer.BadParameter: a name that isn't one of the outputs.
    """
    names = {name.strip() for name in text.split(",") if name.strip()}
    unknown = sorted(names - set(OUTPUTS))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: choose among {', '.join(OUTPUTS)}", param_hint="--save")
    return frozenset(name for name in OUTPUTS if name in names)
