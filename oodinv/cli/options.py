"""Options shared by several commands, grouped by the panels of `--help`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from oodinv.backends import AUTO, BACKENDS, TORCH
from oodinv.compositing.regions import REGIONS
from oodinv.compositing.techniques import TECHNIQUES
from oodinv.errors import suggestion
from oodinv.faces.detectors import DETECTORS
from oodinv.records import names

DtypeName = Literal["float32", "bfloat16", "float16"]
EngineName = Literal["local", "ray"]

FACES = "Faces"
COMPOSING = "Composition (each by default as the recipe or the run says)"
OUTPUT = "Output"
COMPUTING = "Computing"
MESSAGES = "Messages"

# --- input and output ------------------------------------------------------------------------------------

Inputs = Annotated[
    list[Path],
    typer.Argument(metavar="INPUT...", help="Photos, or folders that are searched recursively.", show_default=False),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="Folder for the results, outside of the inputs.",
        show_default=False,
        file_okay=False,
        rich_help_panel=OUTPUT,
    ),
]
Aligned = Annotated[bool, typer.Option("--aligned", help="Inputs are aligned crops: nothing is detected or pasted.")]
Restart = Annotated[
    bool, typer.Option("--restart", help="Replace existing results in the output folder.", rich_help_panel=OUTPUT)
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Check everything and list the files, but compute and write nothing.", rich_help_panel=OUTPUT
    ),
]

Frames = Annotated[
    Literal["first", "all"],
    typer.Option(help="Frames of animated and multi-page files to use: the first, or all."),
]
Format = Annotated[
    Literal["png", "jpg", "webp", "tiff"] | None,
    typer.Option(
        "--format",
        help="Format of pasted photos; by default JPEG stays JPEG and all else becomes PNG.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
Quality = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100,
        help="Quality of JPEG and WebP; by default that of a JPEG input, and lossless WebP.",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]

# --- composition -----------------------------------------------------------------------------------------


def _check(name: str | None, known: tuple[str, ...], option: str) -> None:
    if name is not None and name not in known:
        raise typer.BadParameter(
            f"{name!r} is not one of {', '.join(known)}{suggestion(name, known)}", param_hint=option
        )


def _known_technique(name: str | None) -> str | None:
    _check(name, names(TECHNIQUES), "--technique")
    return name


def _known_area(name: str | None) -> str | None:
    _check(name, names(REGIONS), "--area")
    return name


Technique = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(names(TECHNIQUES)),
        callback=_known_technique,
        help="Blending technique for input and generated pixels.",
        rich_help_panel=COMPOSING,
    ),
]
KeepAbove = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=0.99,
        help="Mask values up to this become 0; the rest is rescaled linearly to [0, 1].",
        rich_help_panel=COMPOSING,
    ),
]
Feather = Annotated[
    float | None,
    typer.Option(min=0, max=512, help="Width of the mask's soft edge, in crop pixels.", rich_help_panel=COMPOSING),
]
Detail = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Fraction of the photo's fine detail to transfer to the result.", rich_help_panel=COMPOSING
    ),
]
Colour = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Fraction of the photo's colour and light to transfer to the result.",
        rich_help_panel=COMPOSING,
    ),
]
Area = Annotated[
    str | None,
    typer.Option(
        metavar="REGION",
        callback=_known_area,
        help=f"Region that an edit may change: {', '.join(names(REGIONS))}.",
        rich_help_panel=COMPOSING,
    ),
]

# --- faces -----------------------------------------------------------------------------------------------


def _known_detector(name: str) -> str:
    _check(name, names(DETECTORS), "--detector")
    return name


Detector = Annotated[
    str,
    typer.Option(
        metavar="|".join(kind.name for kind in DETECTORS),
        callback=_known_detector,
        help=" ".join(f"{kind.name}: {kind.summary}." for kind in DETECTORS),
        rich_help_panel=FACES,
    ),
]
DEFAULT_DETECTOR = DETECTORS[0].name


def _known_faces(text: str) -> str:
    if text not in ("all", "largest") and not (text.isdecimal() and 0 < int(text) < 10_000):
        raise typer.BadParameter(f"{text!r} is neither all, largest, nor a number of faces", param_hint="--faces")
    return text


Faces = Annotated[
    str,
    typer.Option(
        metavar="all|largest|N",
        callback=_known_faces,
        help="Faces to use in each photo: all, the largest, or the N largest.",
        rich_help_panel=FACES,
    ),
]
MinFace = Annotated[
    float, typer.Option(min=0, metavar="PX", help="Smallest face to use: the side of its crop in photo pixels.",
                        rich_help_panel=FACES)
]  # fmt: skip
MinScore = Annotated[float, typer.Option(min=0, max=1, help="Lowest detector score to use.", rich_help_panel=FACES)]
Face = Annotated[
    list[int] | None,
    typer.Option(
        "--face",
        min=0,
        metavar="INDEX",
        help="Use only the face with this index, from left to right, starting at 0; may be given several times.",
        show_default=False,
        rich_help_panel=FACES,
    ),
]
Like = Annotated[
    list[Path] | None,
    typer.Option(
        "--like",
        metavar="PHOTO",
        help="Use only the person in this photo, recognised by SFace; may be given several times.",
        show_default=False,
        rich_help_panel=FACES,
    ),
]
Blurred = Annotated[
    bool,
    typer.Option("--blurred", help="Also use faces far more blurred than a larger face.", rich_help_panel=FACES),
]
CutOff = Annotated[
    bool,
    typer.Option(
        "--cut-off",
        help="Also use faces whose eyes, nose or mouth lie outside the photo.",
        rich_help_panel=FACES,
    ),
]


@dataclass(frozen=True)
class Chosen:
    """Values of the options that select faces; see `faces.selection.Selection`."""

    faces: str = "all"
    min_face: float = 0.0
    min_score: float = 0.0
    indices: tuple[int, ...] = ()
    like: tuple[Path, ...] = ()
    blurred: bool = False
    cut_off: bool = False


# --- computing -------------------------------------------------------------------------------------------

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=COMPUTING)]
Dtype = Annotated[
    DtypeName,
    typer.Option(
        help="Number format of convolutions; float32 on CPUs that support no other.", rich_help_panel=COMPUTING
    ),
]
Refine = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Optimisation steps for each face's codes; more are slower and closer to the photo.",
        show_default="the model's",
        rich_help_panel=COMPUTING,
    ),
]
Tune = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Optimisation steps of the generator for each face that is edited; 0 edits a face that only looks alike.",
        show_default="the model's",
        rich_help_panel=COMPUTING,
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        envvar="OODINV_BACKEND",
        show_envvar=False,
        help=f"What runs the networks on a CPU: {', '.join((TORCH, *names(BACKENDS)))}; {AUTO} takes the fastest that "
        "is installed.",
        rich_help_panel=COMPUTING,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of faces per batch, and of photos per chunk; on a CPU, more take memory and no less time.",
        show_default="8 on a GPU, 1 on a CPU",
        rich_help_panel=COMPUTING,
    ),
]


def batch_size_for(device: str, chosen: int | None) -> int:
    """Value of `--batch-size`: the chosen one, else that of the device, whose name may be `auto`."""
    if chosen is not None:
        return chosen
    if device == "auto":
        from oodinv.device import choose

        device = choose(device).type
    return 1 if device == "cpu" else 8


Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Process only shard I of N, counted from 0, while other processes or machines with the same output folder "
        "process the rest; set automatically under torchrun.",
        show_default=False,
        rich_help_panel=COMPUTING,
    ),
]
Engine = Annotated[
    EngineName,
    typer.Option(
        help="local: this process. ray: workers of the Ray cluster at RAY_ADDRESS, or else on this machine.",
        rich_help_panel=COMPUTING,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of workers with --engine ray; by default one per GPU, or one per two CPUs.",
        show_default=False,
        rich_help_panel=COMPUTING,
    ),
]

# --- messages --------------------------------------------------------------------------------------------

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors only, no progress and no summary.", rich_help_panel=MESSAGES)
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one machine-readable summary on stdout.", rich_help_panel=MESSAGES),
]
