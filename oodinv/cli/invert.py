"""`oodinv invert`: computes latents, flows, masks and composites of photos, and pastes the composites back."""

from typing import Annotated, Literal

import typer

from oodinv import DEFAULT_MODEL
from oodinv.cli import options
from oodinv.cli.groups import ComputeOptions, FaceOptions, FormatOptions, MessageOptions, RunOptions, grouped


@grouped
def invert(
    *,
    inputs: options.Inputs,
    output: options.Output,
    model: Annotated[str, typer.Option(help="Name of a model, or a card as FILE.yaml.")] = DEFAULT_MODEL,
    aligned: options.Aligned = False,
    noise: Annotated[
        Literal["fixed", "zero", "random"],
        typer.Option(
            help="Noise maps of the generator: fixed (stored with its weights), zero, or random.",
            rich_help_panel=options.COMPUTING,
        ),
    ] = "fixed",
    refine: options.Refine = None,
    save: Annotated[
        str,
        typer.Option(
            help="Results to write besides the crops: all, or a list separated by commas, of latents, flows, masks, "
            "generated, composites, pasted."
        ),
    ] = "all",
    colour: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction of the photo's colour and light that pasted faces take on.")
    ] = 1.0,
    select: FaceOptions,
    files: FormatOptions,
    compute: ComputeOptions,
    run: RunOptions,
    messages: MessageOptions,
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

    from oodinv.cli.engine import invert_stages
    from oodinv.cli.photo_run import PhotoRun
    from oodinv.cli.prepare import output_format, parse_save
    from oodinv.workflows.invert import invert_header

    make_stages = partial(
        invert_stages,
        model=model,
        dtype=compute.dtype,
        backend=compute.backend,
        detector=None if aligned else select.detector,
        noise=noise,
        batch_size=compute.chunk,
        save=parse_save(save),
        colour=colour,
        refine=refine,
        output_format=output_format(files.format, files.quality),
        chosen=select.chosen,
    )
    PhotoRun(inputs, output, select, compute, run, messages, "inverting").carry_out(
        make_stages, invert_header, lambda stages: stages.model.notes
    )
