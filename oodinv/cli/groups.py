"""Groups of options that several commands share: each field of a group is an option."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_type_hints

from oodinv.backends import AUTO
from oodinv.cli import options


@dataclass(frozen=True)
class FaceOptions:
    """Detector, and which faces of which frames to use."""

    detector: options.Detector = options.DEFAULT_DETECTOR
    faces: options.Faces = "all"
    face: options.Face = None
    like: options.Like = None
    min_face: options.MinFace = 0.0
    min_score: options.MinScore = 0.0
    blurred: options.Blurred = False
    cut_off: options.CutOff = False
    frames: options.Frames = "first"

    @property
    def chosen(self) -> options.Chosen:
        """The options that select faces."""
        indices, like = tuple(self.face or ()), tuple(self.like or ())
        return options.Chosen(self.faces, self.min_face, self.min_score, indices, like, self.blurred, self.cut_off)

    @property
    def all_frames(self) -> bool:
        """True if all frames of a file are used."""
        return self.frames == "all"


@dataclass(frozen=True)
class FormatOptions:
    """File format of pasted photos."""

    format: options.Format = None
    quality: options.Quality = None


@dataclass(frozen=True)
class CompositionOptions:
    """Composition of generated and input pixels; None: from the recipe or the run."""

    technique: options.Technique = None
    keep_above: options.KeepAbove = None
    feather: options.Feather = None
    detail: options.Detail = None
    colour: options.Colour = None
    area: options.Area = None

    def values(self) -> dict[str, str | float]:
        """Returns the fields of a `Composition` that are set by options."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class AlignComputeOptions:
    """Device, batch size, and how the work is shared between processes."""

    device: options.Device = "auto"
    batch_size: options.BatchSize = None
    shard: options.Shard = None
    engine: options.Engine = "local"
    workers: options.Workers = None

    @property
    def chunk(self) -> int:
        """Number of faces per batch, and of photos per chunk."""
        return options.batch_size_for(self.device, self.batch_size)


@dataclass(frozen=True)
class ComputeOptions(AlignComputeOptions):
    """The same, with the number format of convolutions and the backend of the networks."""

    dtype: options.Dtype = "float32"
    backend: options.Backend = AUTO


@dataclass(frozen=True)
class RunOptions:
    """Treatment of existing results, and whether to list the work instead of doing it."""

    restart: options.Restart = False
    dry_run: options.DryRun = False


@dataclass(frozen=True)
class MessageOptions:
    """Output to the terminal."""

    quiet: options.Quiet = False
    json: options.Json = False


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Decorates a command: parameters that are groups become the options of these groups."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        annotations = get_type_hints(groups[name], include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotations[field.name]
            )
            for field in fields(groups[name])
        ]

    @functools.wraps(command)
    def flat(**values: Any) -> None:
        built = {n: group(**{f.name: values.pop(f.name) for f in fields(group)}) for n, group in groups.items()}
        command(**values, **built)

    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat
