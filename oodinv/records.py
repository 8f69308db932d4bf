"""What cards, recipes and registries are made of: strict records, and implementations that are chosen by name."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from pydantic import BaseModel, ConfigDict

from oodinv.errors import suggestion


class Strict(BaseModel):
    """A frozen record that rejects keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Choice:
    """An implementation that recipes and options name.

    name: as users write it. summary: a few words for the help. module: imported only once it is chosen.
    """

    name: str
    summary: str
    module: str

    def load(self) -> ModuleType:
        """Imports the module."""
        return import_module(self.module)


def names(choices: Iterable[Choice]) -> tuple[str, ...]:
    """Names of the choices."""
    return tuple(choice.name for choice in choices)


def choose(choices: Iterable[Choice], name: str, noun: str) -> Choice:
    """Returns the choice with this name; `noun` says in the error what it is a choice of.

    Raises:
        ValueError: no choice has this name; lists those there are.
    """
    known = {choice.name: choice for choice in choices}
    if name not in known:
        raise ValueError(f"no {noun} is named {name!r}; there are {', '.join(known)}{suggestion(name, known)}")
    return known[name]
