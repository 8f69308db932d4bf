"""`oodinv align`: finds faces and crops them with the FFHQ alignment."""

from typing import Annotated

import typer

from oodinv.cli import options


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
    detector: options.Detector = options.DEFAULT_DETECTOR,
    faces: options.Faces = "all",
    face: options.Face = None,
    like: options.Like = None,
    min_face: options.MinFace = 0.0,
    min_score: options.MinScore = 0.0,
    blurred: options.Blurred = False,
    cut_off: options.CutOff = False,
    frames: options.Frames = "first",
    device: options.Device = "auto",
    batch_size: options.BatchSize = 8,
    shard: options.Shard = None,
    engine: options.Engine = "local",
    workers: options.Workers = None,
    restart: options.Restart = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Find faces and crop them upright with the FFHQ alignment.

    Writes OUT/aligned/NAME.png and NAME.json (the crop's quad in the photo). A photo with several faces gives NAME.0,
    NAME.1, … from left to right. Repeat the command to resume a stopped run.

    [bold]Examples[/]

        oodinv align photos/ -o crops/ --size 1024

        oodinv align party.jpg -o crops/ --model mini --faces largest
    """
    if model is not None and (size is not None or crop_scale is not None):
        raise typer.BadParameter("--model fixes size and framing; leave out --size and --crop-scale")
    from functools import partial

    from oodinv.cli.engine import align_stages, choose_engine
    from oodinv.cli.plan import show_plan
    from oodinv.cli.prepare import choose_shard, shard_notes
    from oodinv.cli.progress import Summary, conclude, follow
    from oodinv.recipe.card import Crop, find_card, read_card
    from oodinv.runs.collect import look_through
    from oodinv.runs.runner import run_on
    from oodinv.workflows.align import align_header

    if model is not None:
        card = read_card(find_card(model))
        size, crop = card.size, card.crop
    else:
        crop = Crop() if crop_scale is None else Crop(scale=crop_scale)
    make_stages = partial(
        align_stages,
        detector=detector,
        size=size or 1024,
        crop=crop,
        chosen=options.Chosen(faces, min_face, min_score, tuple(face or ()), tuple(like or ()), blurred, cut_off),
    )
    share = choose_shard(shard, restart)
    found = look_through(inputs, output, frames=frames == "all")
    stages, computing = choose_engine(make_stages, device, engine, workers, share)
    header = align_header(stages, detector)
    if dry_run:
        show_plan(found, output, header, restart=restart, as_json=json)
        return
    events = run_on(computing, found.jobs, output, header, chunk=batch_size, restart=restart, shard=share)
    conclude(
        follow(events, Summary(output, (*found.notes, *shard_notes(share))), "aligning", quiet),
        as_json=json,
        quiet=quiet,
    )
