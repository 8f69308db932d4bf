"""Log of a command: the outcome of each photo, on the terminal or in a file."""

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


def to_terminal(wanted: bool) -> None:
    """Starts logging to stderr, or stops logging started by an earlier command of this process."""
    _remove(logging.StreamHandler)
    if wanted:
        _add(logging.StreamHandler(sys.stderr))


def to_file(path: Path | None) -> None:
    """Starts appending the log to a file; without one, stops logging started by an earlier command of this process.

    Raises:
        typer.BadParameter: the file can't be written.
    """
    _remove(logging.FileHandler)
    if path is None:
        return
    try:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise typer.BadParameter(f"{path}: can't be written ({error.strerror})", param_hint="--log-file") from error
    _add(handler)


def _remove(kind: type[logging.Handler]) -> None:
    for handler in [h for h in LOG.handlers if type(h) is kind]:
        LOG.removeHandler(handler)
        handler.close()


def _add(handler: logging.Handler) -> None:
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.addHandler(handler)
    LOG.info("oodinv %s, Python %s, %s", oodinv.__version__, platform.python_version(), " ".join(sys.argv[1:]))
