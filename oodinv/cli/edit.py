"""`oodinv edit`: applies a recipe to photos or to an earlier inversion."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from oodinv.cli import options


def edit(
    *,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="A recipe's name or FILE.yaml.", show_default=False)],
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
            "stdout, which get the edited photo alone.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    strength: Annotated[
        str, typer.Option(help="Multiplies the recipe's strengths; several, as -2,0,2, give a strip.")
    ] = "1",
    force: Annotated[
        bool, typer.Option("--force", help="Allow strengths beyond the range in which faces stay faces.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Name of a model, or a card as FILE.yaml; by default the inversion's or mini.")
    ] = None,
    mask: Annotated[
        Literal["unedited", "edited"] | None,
        typer.Option(help="The pass that flow and mask come from.", rich_help_panel=options.COMPOSING),
    ] = None,
    technique: options.Technique = None,
    keep_above: options.KeepAbove = None,
    feather: options.Feather = None,
    detail: options.Detail = None,
    colour: options.Colour = None,
    area: options.Area = None,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview", help="Write only the contact sheet; nothing is pasted.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Photos are crops already: nothing is detected or pasted.")
    ] = False,
    detector: options.Detector = options.DEFAULT_DETECTOR,
    faces: options.Faces = "all",
    face: options.Face = None,
    like: options.Like = None,
    min_face: options.MinFace = 0.0,
    min_score: options.MinScore = 0.0,
    blurred: options.Blurred = False,
    cut_off: options.CutOff = False,
    frames: options.Frames = "first",
    format: options.Format = None,
    quality: options.Quality = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "float32",
    batch_size: options.BatchSize = 8,
    shard: options.Shard = None,
    engine: options.Engine = "local",
    workers: options.Workers = None,
    restart: options.Restart = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Edit faces by a recipe: age, smile, pose, mixing, interpolation; only that changes in the photo.

    An output folder of `oodinv invert` is used again: nothing is inverted twice. Photos are inverted first, into
    OUT/inversion. Without INPUT, the recipe's inputs are taken, or else out/. Writes the folders of `invert` for
    the edited faces, contact-sheet.png and report.html. Strengths beyond a direction's range are refused; `oodinv
    directions list` shows the ranges.

    [bold]Examples[/]

        oodinv edit in.jpg -o out.jpg --recipe smile

        oodinv edit photos/ --recipe smile -o smiling/ --strength 1.5

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
        compose=options.composition(technique, keep_above, feather, detail, colour, area),
        preview=preview,
        aligned=aligned,
        detector=detector,
        chosen=options.Chosen(faces, min_face, min_score, tuple(face or ()), tuple(like or ()), blurred, cut_off),
        frames=frames,
        format=format,
        quality=quality,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        shard=shard,
        engine=engine,
        workers=workers,
        restart=restart,
        dry_run=dry_run,
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
