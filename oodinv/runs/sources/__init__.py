"""Photo sources: one module for each kind of input. A new one is a file here and a line in `SOURCES`."""

from oodinv.runs.sources.base import PhotoSource
from oodinv.runs.sources.file import FILE
from oodinv.runs.sources.folder import FOLDER

SOURCES: tuple[PhotoSource, ...] = (
    FOLDER,
    FILE,
)
"""All sources, in order of precedence: the first that accepts an input is used."""
