"""Registry of photo sources: one module and one entry in SOURCES each."""

from oodinv.runs.sources.base import PhotoSource
from oodinv.runs.sources.file import FILE
from oodinv.runs.sources.folder import FOLDER

SOURCES: tuple[PhotoSource, ...] = (
    FOLDER,
    FILE,
)
"""All sources, in order of precedence: the first that accepts an input is used."""
