"""`oodinv directions discover`."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oodinv import DEFAULT_MODEL
from oodinv.cli import options
from oodinv.cli.directions.common import FolderOption, LayersOption, ModelOption, chosen_layers, faces_of, summary

if TYPE_CHECKING:
    from oodinv.directions import Direction


class Method(StrEnum):
    """Ways to find directions without labels."""

    sefa = "sefa"
    ganspace = "ganspace"


def discover_directions(
    *,
    method: Annotated[Method, typer.Argument(metavar="METHOD", help="sefa (closed form) or ganspace (PCA).")],
    output: FolderOption,
    faces: Annotated[
        Path | None,
        typer.Option("--faces", help="Photos or an `invert` output; required for models without a mapping network."),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    layers: LayersOption = None,
    count: Annotated[int, typer.Option("--count", min=1, max=99, help="Number of directions.")] = 10,
    samples: Annotated[int, typer.Option("--samples", min=100, help="Number of random z to map.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random z.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum number of photos.")] = 2000,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Find directions without labels, to be inspected and named by you.

    sefa: directions that change the styles of the chosen layers most. ganspace: principal components of w from random
    z, or, with --faces, of encoded faces.

    [bold]Examples[/]

        oodinv directions discover sefa --layers 0-3 -o directions/

        oodinv directions discover ganspace --faces out/ -o directions/
    """
    import torch

    from oodinv.cli.prepare import choose_device
    from oodinv.directions.discover import ganspace, map_samples, sefa
    from oodinv.errors import RecipeError
    from oodinv.weights.build import load_named

    loaded = load_named(model).to(choose_device(device))
    generator = loaded.generator
    rows = chosen_layers(layers, generator.num_ws)
    mapped = None if faces is not None else map_samples(generator, samples, seed)
    encoded = None if faces is None else torch.from_numpy(faces_of(loaded, faces, limit, quiet).w_plus)
    if method is Method.sefa:
        places = mapped[:, None].expand(-1, generator.num_ws, -1) if mapped is not None else encoded
        found = sefa(generator, loaded.card.name, rows, count, places)
    else:
        codes = encoded if mapped is None else mapped
        if codes is None:
            raise RecipeError(f"{loaded.card.name} has no mapping network to sample; pass faces with --faces FOLDER")
        found = ganspace(codes.double().numpy(), loaded.card.name, rows, generator.num_ws, count)
    _write_all(found, output, as_json, quiet)


def _write_all(found: "Sequence[Direction]", output: Path, as_json: bool, quiet: bool) -> None:
    from oodinv.directions import write

    results = []
    for direction in found:
        path = output / f"{direction.name}.safetensors"
        write(path, direction)
        results.append(summary(direction, path))
    if as_json:
        typer.echo(json.dumps({"directions": results}, indent=2))
    elif not quiet:
        for result in results:
            typer.echo(f"{result['path']}  {result['method']}")
