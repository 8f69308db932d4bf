"""`oodinv edit IN -o OUT` for one photo, without folders. Imports torch: import only in command bodies."""

import sys
import tempfile
import time
from pathlib import Path

import typer

from oodinv import DEFAULT_MODEL
from oodinv.cli.edit_request import Request
from oodinv.cli.edit_stages import editing, inverting
from oodinv.cli.prepare import output_format
from oodinv.cli.progress import Summary, conclude
from oodinv.errors import ImageError
from oodinv.imaging.encode import WRITTEN_SUFFIXES, write_photo
from oodinv.imaging.formats import suffix_kind
from oodinv.recipe.edit import EditRecipe
from oodinv.runs.pipeline import read_bytes
from oodinv.runs.results import Results
from oodinv.runs.sources.base import Job
from oodinv.workflows.edit import edit_photo
from oodinv.workflows.invert import invert_header

STREAM = Path("-")
SAVED = frozenset({"latents", "flows", "pasted"})


def is_single(inputs: list[Path], output: Path | None) -> bool:
    """True if the command edits one photo into one file, or reads stdin or writes stdout.

    Raises:
        typer.BadParameter: the output has the suffix of a format that photos aren't written in.
    """
    if STREAM in (*inputs, output):
        return True
    if output is None or output.is_dir():
        return False
    suffix = output.suffix.lower()
    if suffix not in WRITTEN_SUFFIXES and suffix_kind(output) != "other":
        raise typer.BadParameter(
            f"photos are not written as {suffix}; use {', '.join(WRITTEN_SUFFIXES)}, or a folder with another name",
            param_hint="--output",
        )
    return suffix in WRITTEN_SUFFIXES


def run_single(request: Request, recipe: EditRecipe, path: Path) -> None:
    """Edits one photo; keeps its metadata, and its format unless the output has another suffix.

    Raises:
        typer.BadParameter: the options need more than one photo. OodinvError: the photo can't be edited.
    """
    _check(request)
    source, target = request.inputs[0], request.output or STREAM
    start = time.perf_counter()
    content = _piped() if source == STREAM else read_bytes(source)
    device = request.compute.device
    invert = inverting(request, recipe, request.model or recipe.model or DEFAULT_MODEL, SAVED)(device)
    nothing = Results(Path(), invert_header(invert, request.select.detector), {})
    edit = editing(request, recipe, path)(device, model=invert.model, inversion=nothing)
    if len(edit.editor.plan.variants) != 1:
        raise typer.BadParameter("several strengths make several photos; pass a folder as --output")
    summary = Summary(target, invert.model.notes, total=1)
    summary.warn(edit.editor.plan.warnings, request.messages.quiet)
    edited = edit_photo(invert, edit, Job(source, "photo"), content)
    summary.notes = (*summary.notes, *edited.remarks)
    if target == STREAM:
        with tempfile.TemporaryDirectory() as folder:
            how = output_format(request.files.format, request.files.quality)
            file = Path(folder, f"photo{how.suffix(edited.photo)}")
            write_photo(file, edited.photo, request.files.quality)
            sys.stdout.buffer.write(file.read_bytes())
            sys.stdout.buffer.flush()
    else:
        write_photo(target, edited.photo, request.files.quality)
    summary.done, summary.seconds = 1, time.perf_counter() - start
    conclude(summary, as_json=request.messages.json, quiet=request.messages.quiet)


def _piped() -> bytes:
    content = sys.stdin.buffer.read()
    if not content:
        raise ImageError("stdin: expected a picture, found nothing; check the command before the pipe")
    return content


def _check(request: Request) -> None:
    inputs, output = request.inputs, request.output
    if len(inputs) != 1 or inputs[0].is_dir():
        raise typer.BadParameter(
            "an output file needs exactly one photo, or - for stdin; for several, pass a folder as --output"
        )
    if output is None or (output != STREAM and output.suffix.lower() not in WRITTEN_SUFFIXES):
        raise typer.BadParameter(
            f"a photo on stdin needs a file ({', '.join(WRITTEN_SUFFIXES)}) or - as --output",
            param_hint="--output",
        )
    if output != STREAM and output.exists() and output.resolve() == inputs[0].resolve():
        raise typer.BadParameter("is the input; choose another file", param_hint="--output")
    if output == STREAM and request.messages.json:
        raise typer.BadParameter("stdout is used for the photo; leave out --json or pass a file as --output")
    if request.files.format is not None and output != STREAM:
        raise typer.BadParameter("the suffix of --output determines the format; leave out --format")
    if request.preview or request.aligned or request.dry_run or request.select.all_frames:
        raise typer.BadParameter("--preview, --aligned, --dry-run and --frames all need a folder as --output")
    if request.compute.shard or request.compute.engine != "local":
        raise typer.BadParameter("--shard and --engine need a folder as --output")
