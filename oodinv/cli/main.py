"""The `oodinv` command: one explicit line for each sub-command.

Nothing here, nor at the top of a command's module, imports torch: `--help` has to answer at once.
"""

import io
import sys

import typer

import oodinv
from oodinv.cli import (
    align,
    benchmark,
    blend,
    directions,
    doctor,
    edit,
    export,
    generate,
    invert,
    models,
    recipes,
    report,
    sign,
    train,
    weights,
)
from oodinv.cli.console import report_error
from oodinv.cli.logs import LOG
from oodinv.cli.memory import tune_allocator
from oodinv.cli.tree import Root
from oodinv.errors import OodinvError

app = typer.Typer(
    name="oodinv",
    cls=Root,
    help="Editable GAN inversion of face photos that keeps what the generator cannot draw.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"oodinv {oodinv.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", "-V", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Editable GAN inversion of face photos that keeps what the generator cannot draw."""


app.command("align")(align.align)
app.command("blend")(blend.blend)
app.command("doctor")(doctor.doctor)
app.command("edit")(edit.edit)
app.command("export")(export.export)
app.command("generate")(generate.generate)
app.command("invert")(invert.invert)
app.command("report")(report.report)
app.command("sign")(sign.sign)
app.command("benchmark")(benchmark.benchmark)
app.add_typer(directions.app, name="directions")
app.add_typer(models.app, name="models")
app.add_typer(recipes.app, name="recipes")
app.add_typer(train.app, name="train")
app.add_typer(weights.app, name="weights")


def _print_anything() -> None:
    """Makes output streams escape characters that they can't encode, such as in file names that aren't UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Runs the command line.

    Exit status of every command: 0 success; 1 an error, or at least one input that failed or can't be read; 2 wrong
    usage; 130 interrupted.
    """
    tune_allocator()
    _print_anything()
    try:
        app()
    except OodinvError as error:
        LOG.error("%s", error)
        report_error(error)
        sys.exit(1)
