"""`oodinv align`: finds faces and crops them with the FFHQ alignment."""

from typing import Annotated

import typer

from oodinv.cli import options
from oodinv.cli.groups import AlignComputeOptions, FaceOptions, MessageOptions, RunOptions, grouped


@grouped
def align(
    *,
    inputs: options.Inputs,
    output: options.Output,
    model: Annotated[
        str | None, typer.Option(help="Model whose size and framing to use: a name, or a card as FILE.yaml.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=8, help="Side of the crops in pixels; not with --model.")] = None,
    crop_scale: Annotated[
        float | None, typer.Option(min=0.2, max=4, help="Scale of the FFHQ crop; below 1 is tighter; not with --model.")
    ] = None,
    select: FaceOptions,
    compute: AlignComputeOptions,
    run: RunOptions,
    messages: MessageOptions,
) -> None:
    """Find faces and crop them upright with the FFHQ alignment.

    Writes OUT/aligned/NAME.png and NAME.json (the crop's quad in the photo). A photo with several faces gives NAME.0,
    NAME.1, … from left to right. Repeat the command to resume a stopped run.

    [bold]Examples[/]

        oodinv align photos/ -o crops/ --size 1024

        oodinv align party.jpg -o crops/ --model ffhq-mobile --faces largest
    """
    if model is not None and (size is not None or crop_scale is not None):
        raise typer.BadParameter("--model fixes size and framing; leave out --size and --crop-scale")
    from functools import partial

    from oodinv.cli.engine import align_stages
    from oodinv.cli.photo_run import PhotoRun
    from oodinv.recipe.card import Crop, find_card, read_card
    from oodinv.workflows.align import align_header

    if model is not None:
        card = read_card(find_card(model))
        size, crop = card.size, card.crop
    else:
        crop = Crop() if crop_scale is None else Crop(scale=crop_scale)
    make_stages = partial(
        align_stages,
        detector=select.detector,
        size=size or 1024,
        crop=crop,
        chosen=select.chosen,
    )
    PhotoRun(inputs, output, select, compute, run, messages, "aligning").carry_out(make_stages, align_header)
