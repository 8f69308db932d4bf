"""Builds the objects of a run from its options. Imports torch: import only in command bodies."""

import os
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Literal, cast

import cv2
import numpy as np
import torch
import typer
from numpy.typing import NDArray

from oodinv import device as devices
from oodinv.backends import Backend, select
from oodinv.backends.compiled import compile_generator, compile_model
from oodinv.cli.console import say
from oodinv.cli.options import Chosen
from oodinv.errors import NoFaceError
from oodinv.faces.align import align
from oodinv.faces.detectors import load_detector
from oodinv.faces.detectors.base import Detector
from oodinv.faces.framing.ffhq import ffhq_quad
from oodinv.faces.selection import BLURRED, LARGEST, Likeness, Selection
from oodinv.imaging.encode import FormatName, OutputFormat
from oodinv.imaging.pixels import Pixels, to_tensor
from oodinv.inversion import Dtype
from oodinv.models.runtime import Runtime
from oodinv.runs.sharding import Shard, launched, parse
from oodinv.runs.sinks import output_names
from oodinv.weights.build import GeneratorModel, Model
from oodinv.weights.pull import pull
from oodinv.workflows.invert import NoiseName

REFERENCE_SIZE = 256
"""Side in pixels of the crops of reference photos."""


def choose_device(name: str) -> torch.device:
    """Returns the device for `--device`; under torchrun, `auto` and `cuda` select the GPU of LOCAL_RANK.

    Also fixes numbers of threads, so that results are reproducible.

    Raises:
        typer.BadParameter: there is no such device.
    """
    _fix_threads()
    try:
        device = devices.choose(name)
        local = os.environ.get("LOCAL_RANK")
        return devices.choose(f"cuda:{local}") if device == torch.device("cuda") and local else device
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--device") from error


def _fix_threads() -> None:
    """Fixes numbers of threads, because the rounding of sums depends on how a loop is split.

    OpenCV splits a loop only if no other thread is in one, which depends on timing; photos are read in several threads
    anyway. MKL may use fewer threads than available until their number is set explicitly.
    """
    cv2.setNumThreads(1)
    torch.set_num_threads(torch.get_num_threads())


def choose_shard(text: str | None, restart: bool) -> Shard | None:
    """Returns the shard of `--shard` or of torchrun; None for the whole run.

    Raises:
        typer.BadParameter: the text is not a shard, or `restart` is combined with a shard.
    """
    try:
        shard = launched(os.environ) if text is None else parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--shard") from error
    if shard is not None and restart:
        raise typer.BadParameter(
            "not with a shard, as it would remove the results of the others; remove the output folder instead",
            param_hint="--restart",
        )
    return shard


def shard_notes(shard: Shard | None) -> tuple[str, ...]:
    """Returns a note for the summary of a shard."""
    if shard is None:
        return ()
    return (f"this was shard {shard.index} of {shard.count}, counted from 0; these numbers don't include the others",)


def choose_backend(name: str, device: torch.device, dtype: Dtype) -> Backend | None:
    """Returns the backend for `--backend`; None for PyTorch.

    Raises:
        typer.BadParameter: there is no such backend. OodinvError: it is not installed, or doesn't fit other options.
    """
    try:
        return select(name, device.type, dtype)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--backend") from error


def run_by(model: Model, backend: Backend | None, noise: NoiseName) -> Model:
    """Returns the model with its networks run by a backend; on stderr, says what is converted for it.

    Raises:
        OodinvError: a network can't be converted.
    """
    if backend is None or model.runtime is not None:
        return model
    return compile_model(model, backend, "zero" if noise == "zero" else "fixed", partial(say, quiet=False))


def generator_runtime(model: GeneratorModel, backend: Backend | None, noise: NoiseName) -> Runtime | None:
    """Returns what runs a generator for `oodinv generate`, like `run_by`; None for PyTorch."""
    if backend is None or noise == "random":
        return None
    return compile_generator(model, backend, noise, partial(say, quiet=False))


def make_detector(name: str, device: torch.device) -> Detector:
    """Returns the face detector for `--detector`; downloads its network if necessary.

    Raises:
        WeightsError: the network can't be loaded.
    """
    return load_detector(name, pull, str(device))


def make_selection(chosen: Chosen, detector: Detector) -> Selection:
    """Builds the face selection from options.

    Raises:
        ImageError: a reference photo can't be read. NoFaceError: it shows no face. WeightsError: SFace is unavailable.
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
        with guard:  # photos are read in several threads, but OpenCV's networks aren't thread-safe
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
    """Returns the output format for `--format` and `--quality`.

    Raises:
        typer.BadParameter: the options contradict each other.
    """
    try:
        return OutputFormat(name, quality)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--quality") from error


def parse_save(text: str) -> frozenset[str]:
    """Parses the names in `--save`.

    Raises:
        typer.BadParameter: the list contains an unknown name.
    """
    known = output_names()
    names = set(known) if text == "all" else {name.strip() for name in text.split(",") if name.strip()}
    unknown = sorted(names - set(known))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: choose among {', '.join(known)}", param_hint="--save")
    return frozenset(names)
