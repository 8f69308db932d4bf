"""Options that several commands share, each defined once."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from oodinv.faces.detectors import DETECTORS


class DtypeChoice(StrEnum):
    """Number format of convolutions and matrix products."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class EngineChoice(StrEnum):
    """What photos are handed out by."""

    local = "local"
    ray = "ray"


class AreaChoice(StrEnum):
    """Where an edit may change anything; around features and with a pose, the face may move along."""

    features = "features"
    expression = "expression"
    pose = "pose"
    hair = "hair"
    face = "face"
    crop = "crop"


class TechniqueChoice(StrEnum):
    """Ways to join what is drawn and what is kept."""

    mask = "mask"
    laplacian = "laplacian"
    poisson = "poisson"


Technique = Annotated[TechniqueChoice | None, typer.Option(help="How kept and drawn parts are joined.")]
KeepAbove = Annotated[
    float | None, typer.Option(min=0, max=0.99, help="What the mask gives less than this is all drawn.")
]
Feather = Annotated[float | None, typer.Option(min=0, max=512, help="Slope around kept parts, in crop pixels.")]
Detail = Annotated[float | None, typer.Option(min=0, max=1, help="Share of lost detail given back.")]
Colour = Annotated[float | None, typer.Option(min=0, max=1, help="Share of lost colour and light given back.")]
Area = Annotated[AreaChoice | None, typer.Option(help="Where an edit may change anything.")]
"""How to compose; each without a value means what the recipe or the run says."""


def composition(
    technique: TechniqueChoice | None, keep_above: float | None, feather: float | None, detail: float | None,
    colour: float | None, area: AreaChoice | None,
) -> dict[str, str | float]:  # fmt: skip
    """The fields of a `Composition` that options set."""
    choices = {"technique": technique, "area": area}
    shares = {"keep_above": keep_above, "feather": feather, "detail": detail, "colour": colour}
    named = {key: choice.value for key, choice in choices.items() if choice is not None}
    return named | {key: share for key, share in shares.items() if share is not None}


Inputs = Annotated[
    list[Path], typer.Argument(help="Photos, or folders that are searched recursively.", show_default=False)
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the results.", show_default=False, file_okay=False)
]


def _known_detector(name: str) -> str:
    names = [kind.name for kind in DETECTORS]
    if name not in names:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(names)}")
    return name


Detector = Annotated[
    str,
    typer.Option(
        metavar="|".join(kind.name for kind in DETECTORS),
        callback=_known_detector,
        help=" ".join(f"{kind.name}: {kind.summary}." for kind in DETECTORS),
    ),
]
DEFAULT_DETECTOR = DETECTORS[0].name
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[DtypeChoice, typer.Option(help="Number format of convolutions; float32 where a CPU has no other.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Faces computed together, and photos read together.")]
Restart = Annotated[bool, typer.Option("--restart", help="Replace the results that the output folder holds.")]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Do share I of N, counted from 0, beside other processes or machines that see the same output folder; "
        "under torchrun by itself.",
        show_default=False,
    ),
]
Engine = Annotated[
    EngineChoice,
    typer.Option(
        help="local: this process. ray: workers of the Ray cluster that RAY_ADDRESS names, or of this machine."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="With --engine ray; by default one a GPU, or one for two CPUs.", show_default=False),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary, errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable summary on stdout.")]
