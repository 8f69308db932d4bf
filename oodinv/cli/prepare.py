"""Turns checked options into the objects that a run needs. Imports torch: only for command bodies."""

import os
from pathlib import Path
from threading import Lock
from typing import Literal, cast

import cv2
import numpy as np
import torch
import typer
from numpy.typing import NDArray

from oodinv import device as devices
from oodinv.cli.options import Chosen
from oodinv.errors import NoFaceError
from oodinv.faces.align import align
from oodinv.faces.detectors import load_detector
from oodinv.faces.detectors.base import Detector
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.selection import BLURRED, LARGEST, Likeness, Selection
from oodinv.imaging.encode import FormatName, OutputFormat
from oodinv.imaging.pixels import Pixels, to_tensor
from oodinv.runs.sharding import Shard, launched, parse
from oodinv.runs.sinks import OUTPUTS, Output
from oodinv.weights.pull import pull

REFERENCE_SIZE = 256
"""Side in pixels of the crops of reference photos."""


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
    except ValueError as error:
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


def make_selection(chosen: Chosen, detector: Detector) -> Selection:
    """The faces that options choose.

    Raises:
        ImageError: a reference photo can't be read or shows no face. WeightsError: SFace can't be had.
    """
    return Selection(
        faces=int(chosen.faces) if chosen.faces.isdecimal() else cast(Literal["all", "largest"], chosen.faces),
        min_size=chosen.min_face,
        min_score=chosen.min_score,
        min_sharpness=0.0 if chosen.blurred else BLURRED,
        indices=frozenset(chosen.indices) or None,
        like=_likeness(chosen.like, detector) if chosen.like else None,
        cut_off=chosen.cut_off,
    )


def _likeness(photos: tuple[Path, ...], detector: Detector) -> Likeness:
    from oodinv.imaging.decode import read_photo
    from oodinv.metrics.identity import Sface

    sface, guard = Sface(pull("sface")), Lock()

    def embed(pixels: Pixels) -> NDArray[np.floating]:
        with guard:  # photos are read by several threads, and OpenCV's networks are used by one at a time
            features: NDArray[np.floating] = sface.embed(to_tensor(pixels)).numpy()[0]
            return features

    references = []
    for photo in photos:
        try:
            (face,) = align(read_photo(photo).pixels, detector, REFERENCE_SIZE, ffhq_quad, LARGEST).faces
        except NoFaceError as error:
            raise NoFaceError(f"{photo}: {error}") from error
        references.append(embed(face.crop))
    return Likeness(embed, np.stack(references))


def output_format(name: FormatName | None, quality: int | None) -> OutputFormat:
    """The format that `--format` and `--quality` name.

    Raises:
        typer.BadParameter: they contradict each other.
    """
    try:
        return OutputFormat(name, quality)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--quality") from error


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
