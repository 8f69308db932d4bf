"""The log of a command: each photo's outcome, on the terminal or in a file."""

import logging
import platform
import sys
from pathlib import Path

import typer

import oodinv

LOG = logging.getLogger("oodinv")
LOG.setLevel(logging.INFO)
LOG.propagate = False
LOG.addHandler(logging.NullHandler())  # without --verbose and --log-file, nothing is logged


def to_terminal() -> None:
    """Logs to stderr from now on."""
    _add(logging.StreamHandler(sys.stderr))


def to_file(path: Path) -> None:
    """Appends the log to a file from now on.

    Raises:
        typer.BadParameter: the file can't be written.
    """
    try:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise typer.BadParameter(f"{path}: can't be written ({error.strerror})", param_hint="--log-file") from error
    _add(handler)


def _add(handler: logging.Handler) -> None:
    """Replaces a handler of the same kind: a process may run several commands."""
    for other in [h for h in LOG.handlers if type(h) is type(handler)]:
        LOG.removeHandler(other)
        other.close()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(handler)
    LOG.info("oodinv %s, Python %s, %s", oodinv.__version__, platform.python_version(), " ".join(sys.argv[1:]))
