"""Strict records for cards and recipes, and lookup by name for registries."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Annotated, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from oodinv.errors import suggestion

Fraction = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """A frozen record that rejects keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Choice:
    """An implementation that recipes and options name.

    name: in recipes and options. summary: a few words for the help. module: imported when it is chosen.
    """

    name: str
    summary: str
    module: str

    def load(self) -> ModuleType:
        """Imports the module."""
        return import_module(self.module)


class Named(Protocol):
    """An entry of a registry."""

    @property
    def name(self) -> str:
        """Name in recipes and options."""


N = TypeVar("N", bound=Named)


def names(entries: Iterable[Named]) -> tuple[str, ...]:
    """Names of the entries of a registry."""
    return tuple(entry.name for entry in entries)


def choose(entries: Iterable[N], name: str, noun: str) -> N:
    """Returns the entry with this name; noun: kind of entry, for the error.

    Raises:
        ValueError: no entry has this name; the message lists all names.
    """
    known = {entry.name: entry for entry in entries}
    if name not in known:
        raise ValueError(f"no {noun} is named {name!r}; there are {', '.join(known)}{suggestion(name, known)}")
    return known[name]
