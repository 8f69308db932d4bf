"""`oodinv edit`: what a recipe asks for, done to photos or to an earlier inversion."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from oodinv.cli import options


class MaskChoice(StrEnum):
    """Where flow and mask come from."""

    unedited = "unedited"
    edited = "edited"


def edit(
    *,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="A recipe's name or FILE.yaml.", show_default=False)],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="Photos or folders of photos, or one output folder of invert.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the results, by default out-RECIPE.", file_okay=False),
    ] = None,
    strength: Annotated[
        str, typer.Option(help="Multiplies the recipe's strengths; several, as -2,0,2, give a strip.")
    ] = "1",
    model: Annotated[
        str | None, typer.Option(help="Name of a model, or a card as FILE.yaml; by default the inversion's or mini.")
    ] = None,
    mask: Annotated[
        MaskChoice | None, typer.Option(help="Flow and mask of which pass; by default the recipe's.")
    ] = None,
    technique: options.Technique = None,
    keep_above: options.KeepAbove = None,
    feather: options.Feather = None,
    detail: options.Detail = None,
    colour: options.Colour = None,
    area: options.Area = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Write only the contact sheet; nothing is pasted.")
    ] = False,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Photos are crops already: nothing is detected or pasted.")
    ] = False,
    detector: options.Detector = options.DEFAULT_DETECTOR,
    device: options.Device = "auto",
    dtype: options.Dtype = options.DtypeChoice.float32,
    batch_size: options.BatchSize = 8,
    restart: options.Restart = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Edit faces by a recipe: age, smile, pose, mixing, interpolation; pasted back so that only that has changed.

    An output folder of `oodinv invert` is used again: nothing is inverted twice. Photos are inverted first, into
    OUT/inversion. Without INPUT, the recipe's inputs are taken, or else out/. Writes the folders of `invert` for
    the edited faces, contact-sheet.png and report.html.

    [bold]Examples[/]

        oodinv edit --recipe older

        oodinv edit photos/ --recipe smile -o smiling/ --strength 1.5

        oodinv edit out/ --recipe my-recipe.yaml --strength=-2,-1,0,1,2 --preview
    """
    from oodinv.cli.edit_run import Request, run_edit

    request = Request(
        inputs=inputs or [],
        recipe=recipe,
        output=output,
        factors=_factors(strength),
        model=model,
        mask=None if mask is None else mask.value,
        compose=options.composition(technique, keep_above, feather, detail, colour, area),
        preview=preview,
        aligned=aligned,
        detector=detector,
        device=device,
        dtype=dtype.value,
        batch_size=batch_size,
        restart=restart,
        quiet=quiet,
        json=json,
    )
    run_edit(request)


def _factors(text: str) -> list[float]:
    """The numbers in --strength."""
    import math

    try:
        factors = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no number, nor several with commas", param_hint="--strength") from error
    if not all(map(math.isfinite, factors)) or len(set(factors)) != len(factors):
        raise typer.BadParameter(f"{text!r}: numbers must be finite and different", param_hint="--strength")
    return factors
