"""`oodinv export`: writes a model's networks as ONNX or OpenVINO files."""

from typing import Annotated, Literal

import typer

from oodinv.cli import options


def export(
    *,
    model: Annotated[str, typer.Option(help="Name of a model, or a card as FILE.yaml.")],
    format: Annotated[Literal["onnx", "openvino"], typer.Option("--format", help="File format.")] = "onnx",
    output: options.Output,
    noise: Annotated[
        Literal["fixed", "zero"],
        typer.Option(help="Noise maps of the generator: fixed (stored with its weights) or zero."),
    ] = "fixed",
    batch_size: Annotated[int, typer.Option(min=1, help="Fixed batch size of all inputs and outputs.")] = 1,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Export encoder, generator and SAMM, each alone and all in one, for use without oodinv and PyTorch.

    Writes encoder, generator, generator-samm (if the model has SAMM) and pipeline (crop to latent code, picture and
    composite), and export.json with the names, shapes and meanings of inputs and outputs. Each file's results are
    compared with PyTorch's.

    [bold]Examples[/]

        oodinv export --model ffhq-mobile -o exported/

        oodinv export --model ffhq-mobile --format openvino -o exported/
    """
    from json import dumps

    from rich.markup import escape

    from oodinv.backends import require
    from oodinv.backends.export import backend_for
    from oodinv.backends.export import export as export_files
    from oodinv.cli.console import say, stderr
    from oodinv.weights.build import load_named

    require(backend_for(format))
    loaded = load_named(model)
    files = []
    for file in export_files(loaded, format, output, noise, batch_size):
        say(file, quiet)
        files.append(file)
    if json:
        typer.echo(dumps({"output": str(output), "files": files, "notes": loaded.notes}))
    elif not quiet:
        stderr.print(escape(f"{len(files)} files in {output}"))
