"""`oodinv generate`: generates pictures from seeds or latent codes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from oodinv.backends import AUTO
from oodinv.cli import options

if TYPE_CHECKING:
    from oodinv.workflows.generate import Artefact

DEFAULT_ARTEFACTS = "images,latents"


def generate(
    *,
    model: Annotated[
        str, typer.Option("--model", help="Name of a model, or a card as FILE.yaml; only its generator is loaded.")
    ],
    output: options.Output,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Seeds such as 0-9,42; z is drawn from PyTorch's CPU generator.")
    ] = None,
    codes: Annotated[
        Path | None,
        typer.Option(
            "--codes", metavar="FILE", help="Codes (N, w_dim), (num_ws, w_dim) or (N, num_ws, w_dim) as .npy or .npz."
        ),
    ] = None,
    truncation: Annotated[
        float,
        typer.Option(
            "--truncation", min=-2, max=2, help="Truncation psi: 0 gives the average code, 1 leaves codes unchanged."
        ),
    ] = 1.0,
    noise: Annotated[
        Literal["fixed", "zero", "random"],
        typer.Option(
            help="Noise maps of the generator: fixed (stored with its weights), zero, or random.",
            rich_help_panel=options.COMPUTING,
        ),
    ] = "fixed",
    save: Annotated[
        str, typer.Option(help="Outputs to write, separated by commas: images, latents, arrays (unclipped float32).")
    ] = DEFAULT_ARTEFACTS,
    device: options.Device = "auto",
    dtype: options.Dtype = "float32",
    backend: options.Backend = AUTO,
    batch_size: options.BatchSize = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Generate pictures from seeds or latent codes.

    Writes OUT/generated/NAME.png, OUT/latents/NAME.npz and, with arrays in --save, OUT/arrays/NAME.npy. The names are
    seed0000, … or code0000, …. A seed's z is torch.randn(1, z_dim) from PyTorch's CPU generator after manual_seed.

    [bold]Examples[/]

        oodinv generate --model mobilestylegan-ffhq --seeds 0-9 --truncation 0.7 -o faces/

        oodinv generate --model mobilestylegan-ffhq --codes out/latents/anna.npz --save arrays -o anna/
    """
    from rich.markup import escape
    from rich.progress import track

    from oodinv.cli.console import say, stderr
    from oodinv.cli.directions.common import parse_numbers
    from oodinv.cli.prepare import choose_backend, choose_device, generator_runtime
    from oodinv.imaging.provenance import Provenance
    from oodinv.inversion import DTYPES
    from oodinv.weights.build import load_generator
    from oodinv.workflows.generate import codes_of_file, codes_of_seeds, drawn, write_drawn

    if (seeds is None) == (codes is None):
        raise typer.BadParameter("give either --seeds or --codes", param_hint="--seeds")
    numbers = None if seeds is None else parse_numbers(seeds, "--seeds")
    wanted = parse_artefacts(save)
    loaded = load_generator(model)
    for note in loaded.notes:
        say(note, quiet)
    place = choose_device(device)
    generator = loaded.generator.to(place)
    runtime = generator_runtime(loaded, choose_backend(backend, place, dtype), noise)
    if numbers is not None:
        chosen = codes_of_seeds(generator, numbers, truncation)
    else:
        assert codes is not None
        chosen = codes_of_file(generator, codes, truncation)
    made = Provenance(source="trainedAlgorithmicMedia", model=loaded.card.name)
    outputs: list[str] = []
    pictures = drawn(generator, chosen, noise, DTYPES[dtype], options.batch_size_for(device, batch_size), runtime)
    for code, picture in track(pictures, "generating", len(chosen), console=stderr, disable=quiet, transient=True):
        outputs += write_drawn(output, code, picture, wanted, made)
    if as_json:
        typer.echo(json.dumps({"output": str(output), "done": len(chosen), "outputs": outputs, "notes": loaded.notes}))
    elif not quiet:
        stderr.print(escape(f"{len(chosen)} generated in {output}"))


def parse_artefacts(text: str) -> "frozenset[Artefact]":
    """Parses the names in `--save`.

    Raises:
        typer.BadParameter: the list is empty or contains an unknown name.
    """
    from oodinv.workflows.generate import ARTEFACTS

    names = {name.strip() for name in text.split(",") if name.strip()}
    if not names or names - set(ARTEFACTS):
        unknown = ", ".join(sorted(names - set(ARTEFACTS))) or "nothing"
        raise typer.BadParameter(f"{unknown}: choose among {', '.join(ARTEFACTS)}", param_hint="--save")
    return frozenset(name for name in ARTEFACTS if name in names)
