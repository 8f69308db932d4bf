"""`oodinv edit`: applies a recipe to photos or to an earlier inversion."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from oodinv.cli import options
from oodinv.cli.groups import (
    CompositionOptions,
    ComputeOptions,
    FaceOptions,
    FormatOptions,
    MessageOptions,
    grouped,
)


@grouped
def edit(
    *,
    recipe: Annotated[
        str, typer.Option("--recipe", "-r", help="Edit recipe: a name or FILE.yaml.", show_default=False)
    ],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photos or folders of photos, one output folder of invert, or - for a photo on stdin.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the results, by default out-RECIPE; for one photo also a file (.jpg, .png) or - for "
            "stdout, to write only the edited photo.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    strength: Annotated[
        str, typer.Option(help="Factor for the recipe's strengths; several, such as -2,0,2, make a strip.")
    ] = "1",
    force: Annotated[bool, typer.Option("--force", help="Allow strengths outside a direction's safe range.")] = False,
    model: Annotated[
        str | None,
        typer.Option(help="Name of a model, or a card as FILE.yaml; by default the inversion's, or ffhq-mobile."),
    ] = None,
    mask: Annotated[
        Literal["unedited", "edited"] | None,
        typer.Option(help="Generator pass that provides flow and mask.", rich_help_panel=options.COMPOSING),
    ] = None,
    compose: CompositionOptions,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview", help="Write only the contact sheet; nothing is pasted.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
    aligned: options.Aligned = False,
    select: FaceOptions,
    files: FormatOptions,
    refine: options.Refine = None,
    tune: options.Tune = None,
    compute: ComputeOptions,
    restart: options.Restart = False,
    dry_run: options.DryRun = False,
    messages: MessageOptions,
) -> None:
    """Edit faces with a recipe (age, smile, pose, mixing, interpolation) and leave the rest of the photo unchanged.

    Photos are first inverted into OUT/inversion; an output folder of `oodinv invert` is edited directly. Without INPUT,
    uses the recipe's inputs, or else out/. Writes the folders of `invert` for the edited faces, contact-sheet.png and
    report.html. Strengths outside a direction's safe range are rejected; `oodinv directions list` shows the ranges.

    [bold]Examples[/]

        oodinv edit in.jpg -o out.jpg --recipe smile

        oodinv edit photos/ --recipe smile -o smiling/ --strength 1.2

        oodinv edit out/ --recipe my-recipe.yaml --strength=-1,0,1 --preview
    """
    from oodinv.cli.edit_request import Request
    from oodinv.cli.edit_run import run_edit

    request = Request(
        inputs=inputs or [],
        recipe=recipe,
        output=output,
        factors=_factors(strength),
        force=force,
        model=model,
        mask=mask,
        compose=compose.values(),
        preview=preview,
        aligned=aligned,
        select=select,
        files=files,
        refine=refine,
        tune=tune,
        compute=compute,
        restart=restart,
        dry_run=dry_run,
        messages=messages,
    )
    run_edit(request)


def _factors(text: str) -> list[float]:
    """Parses the numbers in --strength."""
    import math

    try:
        factors = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not a number, or numbers separated by commas", param_hint="--strength"
        ) from error
    if not all(map(math.isfinite, factors)) or len(set(factors)) != len(factors):
        raise typer.BadParameter(f"{text!r}: numbers must be finite and different", param_hint="--strength")
    return factors
