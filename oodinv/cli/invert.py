"""`oodinv invert`: computes latents, flows, masks and composites of photos, and pastes the composites back."""

from typing import Annotated, Literal

import typer

from oodinv.cli import options

EVERYTHING = "latents,flows,masks,generated,composites,pasted"


def invert(
    *,
    inputs: options.Inputs,
    output: options.Output,
    model: Annotated[str, typer.Option(help="Name of a model, or a card as FILE.yaml.")] = "mini",
    aligned: Annotated[
        bool, typer.Option("--aligned", help="Inputs are aligned crops: nothing is detected or pasted.")
    ] = False,
    noise: Annotated[
        Literal["fixed", "zero", "random"],
        typer.Option(help="Noise input of the generator.", rich_help_panel=options.COMPUTING),
    ] = "fixed",
    refine: options.Refine = None,
    save: Annotated[
        str,
        typer.Option(
            help="Results to write besides the crops, separated by commas: latents, flows, masks, generated, "
            "composites, pasted.",
            show_default="all",
        ),
    ] = EVERYTHING,
    colour: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction of the photo's colour and light that pasted faces take on.")
    ] = 1.0,
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
    """Invert photos: align, encode, generate with alignment, mask, composite, paste back.

    Writes OUT/aligned, latents, flows, masks, generated, composites and pasted, and OUT/manifest.jsonl. A photo
    that fails doesn't stop the others. Repeat the command to resume a stopped run.

    [bold]Examples[/]

        oodinv invert photos/ -o out/

        oodinv invert crops/ -o out/ --aligned --model ffhq-e4e --save latents,composites

        RAY_ADDRESS=auto oodinv invert /shared/photos -o /shared/out --engine ray
    """
    from functools import partial

    from oodinv.cli.engine import choose_engine, invert_stages
    from oodinv.cli.plan import show_plan
    from oodinv.cli.prepare import choose_shard, output_format, parse_save, shard_notes
    from oodinv.cli.progress import Summary, conclude, follow
    from oodinv.runs.collect import look_through
    from oodinv.runs.runner import run_on
    from oodinv.workflows.invert import invert_header

    make_stages = partial(
        invert_stages,
        model=model,
        dtype=dtype,
        detector=None if aligned else detector,
        noise=noise,
        batch_size=batch_size,
        save=parse_save(save),
        colour=colour,
        refine=refine,
        output_format=output_format(format, quality),
        chosen=options.Chosen(faces, min_face, min_score, tuple(face or ()), tuple(like or ()), blurred, cut_off),
    )
    share = choose_shard(shard, restart)
    found = look_through(inputs, output, frames=frames == "all")
    stages, computing = choose_engine(make_stages, device, engine, workers, share)
    header = invert_header(stages, detector)
    if dry_run:
        show_plan(found, output, header, restart=restart, as_json=json)
        return
    events = run_on(computing, found.jobs, output, header, chunk=batch_size, restart=restart, shard=share)
    summary = follow(
        events, Summary(output, (*stages.model.notes, *found.notes, *shard_notes(share))), "inverting", quiet
    )
    conclude(summary, as_json=json, quiet=quiet)
