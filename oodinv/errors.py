"""Every error that `oodinv` raises on purpose.

A message names the file, says what was expected of it, and what to do about it.
Whatever else is raised is a bug.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class OodinvError(Exception):
    """Base of all errors that a user can cause and mend."""


class RecipeError(OodinvError):
    """A recipe or model card that can't be read or contradicts itself."""


class WeightsError(OodinvError):
    """A weight file that can't be used."""


class MissingWeights(WeightsError):
    """A weight file that is not where the card or the catalog says."""


class ChecksumMismatch(WeightsError):
    """A file whose sha256 is not the one on record."""


class UnknownLayout(WeightsError):
    """A weight file whose contents fit no layout that `oodinv` knows."""


class ImageError(OodinvError):
    """A picture that can't be read, is unsafe to read, or can't be written."""


class NoFaceError(ImageError):
    """A picture in which the detector finds no face."""


class ManifestError(OodinvError):
    """An output folder whose manifest does not belong to this run."""


class OutputError(OodinvError):
    """An output folder that can't be written: full, read-only, or gone."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: "; did you mean X?", or nothing where no known name is close."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
