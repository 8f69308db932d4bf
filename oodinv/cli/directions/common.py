"""Parts shared by the commands of `oodinv directions`: options, layer lists, encoded faces, summaries."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oodinv.directions import Direction
    from oodinv.directions.faces import MeasuredFace, MeasuredFaces
    from oodinv.weights.build import Model
    from oodinv.workflows.encode import SkippedFace

ModelOption = Annotated[str, typer.Option("--model", help="Name of a model, or a card as FILE.yaml.")]
FolderOption = Annotated[
    Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the directions, one .safetensors each.")
]
LayersOption = Annotated[
    str | None, typer.Option("--layers", help="Rows of w_plus to change, such as 0-3,7; default all.")
]


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """Parses numbers and ranges such as 0-3,7 into sorted distinct numbers.

    Raises:
        typer.BadParameter: the text has another form.
    """
    numbers = set[int]()
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()) or len(part) > 12:
            raise typer.BadParameter(f"{text!r}: give numbers and ranges such as 0-3,7", param_hint=option)
        first, last = int(low), int(high if dash else low)
        if not first <= last <= first + 10_000:
            raise typer.BadParameter(f"{part.strip()!r} is not a valid range", param_hint=option)
        numbers |= set(range(first, last + 1))
    return tuple(sorted(numbers))


def chosen_layers(text: str | None, num_ws: int) -> tuple[int, ...] | None:
    """Parses `--layers` into rows of w_plus; None for all.

    Raises:
        typer.BadParameter: the text is not a list of numbers, or the model has fewer rows.
    """
    if text is None:
        return None
    layers = parse_numbers(text, "--layers")
    if layers[-1] >= num_ws:
        raise typer.BadParameter(f"{text}: the model has layers 0 to {num_ws - 1}", param_hint="--layers")
    return layers


def summary(direction: "Direction", path: Path) -> dict[str, object]:
    """Describes a direction and its file for `--json`."""
    return {
        "name": direction.name,
        "model": direction.model,
        "attribute": direction.attribute,
        "description": direction.description,
        "unit": direction.unit,
        "safe_range": direction.safe_range,
        "layers": direction.layers,
        "method": direction.method,
        "shape": list(direction.vector.shape),
        "path": str(path),
    }


def faces_of(model: "Model", folder: Path, limit: int | None, quiet: bool) -> "MeasuredFaces":
    """Returns the encoded faces of a folder, from the cache if available."""
    from oodinv.directions.faces import read_faces, stack_faces, write_faces
    from oodinv.runs.collect import collect
    from oodinv.weights.pull import cache_dir
    from oodinv.workflows.encode import cache_key, encode_photos, is_inverted, read_inverted, sample

    if is_inverted(folder):
        return stack_faces(_follow(read_inverted(model, folder), None, folder, quiet))
    jobs = sample(collect([folder]), limit)
    path = cache_dir() / "faces" / f"{cache_key(model, jobs)}.npz"
    if (known := read_faces(path)) is not None:
        return known
    from oodinv.faces.detectors.yunet import Yunet
    from oodinv.weights.pull import pull

    stream = encode_photos(model, jobs, Yunet(pull("yunet"), quick=True))
    found = stack_faces(_follow(stream, len(jobs), folder, quiet))
    write_faces(path, found)
    return found


def _follow(
    stream: "Iterator[MeasuredFace | SkippedFace]", total: int | None, folder: Path, quiet: bool
) -> "Iterator[MeasuredFace]":
    """Yields the faces, shows progress, and prints the number of files without a usable face."""
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from oodinv.cli.console import stderr
    from oodinv.directions.faces import MeasuredFace

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    skipped = 0
    with Progress(*columns, console=stderr, disable=quiet) as progress:
        bar = progress.add_task(f"encoding {escape(str(folder))}", total=total)
        for item in stream:
            progress.advance(bar)
            if isinstance(item, MeasuredFace):
                yield item
            else:
                skipped += 1
    if skipped and not quiet:
        stderr.print(f"{escape(str(folder))}: {skipped} files without a usable face were skipped")
