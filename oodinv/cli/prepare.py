"""Turns checked options into the objects that a run needs. Imports torch: only for command bodies."""

import torch
import typer

from oodinv import device as devices
from oodinv.align import Detector, FaceAlignment, Yunet
from oodinv.cli.options import DetectorChoice
from oodinv.stages import OUTPUTS, Output
from oodinv.weights.pull import pull


def choose_device(name: str) -> torch.device:
    """The device that `--device` names.

    Raises:
        typer.BadParameter: there is none of this name.
    """
    try:
        return devices.choose(name)
    except (ValueError, RuntimeError) as error:
        raise typer.BadParameter(str(error), param_hint="--device") from error


def make_detector(choice: DetectorChoice, device: torch.device) -> Detector:
    """The face detector that `--detector` names, its network fetched if need be.

    Raises:
        WeightsError: its network can't be had.
    """
    match choice:
        case DetectorChoice.yunet:
            return Yunet(pull("yunet"))
        case DetectorChoice.face_alignment:
            return FaceAlignment(str(device))


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
