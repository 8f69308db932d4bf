"""Exceptions that `oodinv` raises deliberately.

Each message names the file, the expectation and the solution. Any other exception is a bug.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class OodinvError(Exception):
    """Base of all expected errors."""


class RecipeError(OodinvError):
    """A recipe or model card is unreadable, invalid or inconsistent."""


class WeightsError(OodinvError):
    """A weight file is unusable."""


class MissingWeights(WeightsError):
    """A weight file named by a card or the catalog does not exist."""


class ChecksumMismatch(WeightsError):
    """The sha256 of a file differs from the recorded one."""


class UnknownLayout(WeightsError):
    """The contents of a weight file match no known layout."""


class ImageError(OodinvError):
    """A picture can't be read or written, or is unsafe to read."""


class NoFaceError(ImageError):
    """The detector finds no face in a picture."""


class ManifestError(OodinvError):
    """The manifest of an output folder belongs to another run."""


class OutputError(OodinvError):
    """An output folder can't be written: it is full, read-only or missing."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns "; did you mean X?" for an unknown name with a similar known one, otherwise an empty string."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
