"""`oodinv blend`: composes again from saved files."""

from pathlib import Path
from typing import Annotated

import typer

from oodinv.cli import options


def blend(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of invert or edit.", show_default=False)],
    technique: Annotated[
        options.TechniqueChoice, typer.Option(help="How kept and drawn parts are joined.")
    ] = options.TechniqueChoice.mask,
    keep_above: Annotated[
        float, typer.Option(min=0, max=0.99, help="What the mask gives less than this is all drawn.")
    ] = 0.0,
    feather: Annotated[float, typer.Option(min=0, max=512, help="Slope around kept parts, in crop pixels.")] = 0.0,
    detail: Annotated[float, typer.Option(min=0, max=1, help="Share of lost detail given back.")] = 0.0,
    colour: Annotated[float, typer.Option(min=0, max=1, help="Share of lost colour and light given back.")] = 0.0,
    area: Annotated[
        options.AreaChoice, typer.Option(help="Where an edit may change anything.")
    ] = options.AreaChoice.face,
    hues: Annotated[
        options.HuesChoice, typer.Option(help="What an edit may bring: any hue, or only what the photo has nearby.")
    ] = options.HuesChoice.any,
    paste: Annotated[bool, typer.Option("--paste", help="Put the composites back into the photos too.")] = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Compose again from saved crops, generated pictures and masks: no network runs, milliseconds a photo.

    Replaces OUT/composites, and with --paste OUT/pasted. The manifest keeps saying how the run composed.

    [bold]Examples[/]

        oodinv blend out-older/ --technique laplacian --detail 1 --paste

        oodinv blend out/ --technique poisson --feather 4
    """
    from oodinv.cli.progress import Summary, conclude, follow
    from oodinv.recipe.edit import Composition
    from oodinv.recompose import recompose
    from oodinv.saved import open_results

    composition = Composition(
        area=area.value,
        technique=technique.value,
        keep_above=keep_above,
        feather=feather,
        detail=detail,
        colour=colour,
        hues=hues.value,
    )
    results = open_results(folder, ("invert", "edit"))
    events = recompose(results, composition, paste)
    conclude(follow(events, Summary(folder), "blending", quiet), as_json=json, quiet=quiet)
