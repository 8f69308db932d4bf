"""`oodinv directions import`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oodinv import DEFAULT_MODEL
from oodinv.cli import options
from oodinv.cli.directions.common import LayersOption, ModelOption, chosen_layers, parse_numbers, summary

if TYPE_CHECKING:
    from oodinv.directions.foreign import ModelShape


def import_directions(
    *,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Direction files of other projects.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="Folder, or, for one direction, a .safetensors file.")
    ],
    model: ModelOption = DEFAULT_MODEL,
    components: Annotated[
        str | None, typer.Option("--components", help="Components of a GANSpace file, such as 0-9; default all.")
    ] = None,
    layers: LayersOption = None,
    scale: Annotated[
        float, typer.Option("--scale", help="Factor by which to multiply the direction; negative reverses it.")
    ] = 1.0,
    codes: Annotated[
        bool, typer.Option("--codes", help="The file contains latent codes: write OUT/latents/NAME.NNN.npz.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Convert directions of other projects to files of oodinv, without running code from the files.

    Reads InterFaceGAN, encoder4editing, StyleFeatureEditor, GANSpace and plain arrays, for one row or for all, as .npy,
    .npz, .pt, .pkl or .safetensors. The sign is preserved.
    """
    from oodinv.cli.console import report_error
    from oodinv.directions.foreign import model_shape
    from oodinv.errors import OodinvError
    from oodinv.recipe.card import find_card, read_card

    if scale == 0:
        raise typer.BadParameter("must not be 0", param_hint="--scale")
    card = find_card(model)
    target = model_shape(read_card(card), card)
    chosen = None if components is None else parse_numbers(components, "--components")
    rows = chosen_layers(layers, target.num_ws)
    results, failed = list[dict[str, object]](), False
    for file in files:
        try:
            if codes:
                results += _import_codes(file, output, target)
            else:
                results += _import_file(file, output, target, chosen, rows, scale)
        except OodinvError as error:
            failed = True
            report_error(error)
            results.append({"file": str(file), "error": str(error)})
    if as_json:
        typer.echo(json.dumps({"results": results}, indent=2))
    else:
        for result in results:
            if "path" in result:
                typer.echo(f"{result['path']}  {result.get('method', '')}")
    if failed:
        raise typer.Exit(1)


def _import_codes(file: Path, output: Path, target: "ModelShape") -> list[dict[str, object]]:
    from oodinv.directions.codes import read_codes
    from oodinv.imaging.files import write_npz

    results: list[dict[str, object]] = []
    for index, code in enumerate(read_codes(file, target)):
        path = output / "latents" / f"{file.stem}.{index:03d}.npz"
        write_npz(path, w_plus=code.numpy())
        results.append({"file": str(file), "path": str(path), "shape": [target.num_ws, target.w_dim]})
    return results


def _import_file(
    file: Path,
    output: Path,
    target: "ModelShape",
    components: tuple[int, ...] | None,
    layers: tuple[int, ...] | None,
    scale: float,
) -> list[dict[str, object]]:
    from dataclasses import replace

    from oodinv.directions import write
    from oodinv.directions.files import scaled
    from oodinv.directions.foreign import import_file
    from oodinv.errors import RecipeError

    found = import_file(file, target, components)
    single = output.suffix == ".safetensors"
    if single and len(found) > 1:
        raise RecipeError(f"{file} holds {len(found)} directions; pass a folder as --output")
    results: list[dict[str, object]] = []
    for direction in found:
        if layers is not None:
            direction = replace(direction, layers=layers)
        if scale != 1:
            direction = scaled(direction, scale)
        if single:
            direction = replace(direction, name=output.stem)
        path = output if single else output / f"{direction.name}.safetensors"
        write(path, direction)
        results.append({"file": str(file), **summary(direction, path)})
    return results
