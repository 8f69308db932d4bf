"""Selection of a family's record by `kind` from the registered families."""

from collections.abc import Callable, Mapping
from typing import Any

from oodinv.models import encoders, generators
from oodinv.records import Strict

Records = Mapping[str, type[Strict]]


def generator_cards() -> Records:
    """Model-card record of each generator family, by kind."""
    return {family.kind: family.card for family in generators.GENERATORS}


def encoder_cards() -> Records:
    """Model-card record of each encoder family, by kind."""
    return {family.kind: family.card for family in encoders.ENCODERS}


def encoder_plans() -> Records:
    """Training-recipe record of each encoder family, by kind."""
    return {family.kind: family.plan for family in encoders.ENCODERS}


def by_kind(records: Callable[[], Records], default: str | None = None) -> Callable[[Any], Any]:
    """Returns a pydantic validator that parses a mapping as the record of its `kind`, or of the default kind.

    The validator raises ValueError for unregistered kinds and leaves other values to pydantic.
    """

    def chosen(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        kind, known = value.get("kind", default), records()
        if not isinstance(kind, str) or kind not in known:
            raise ValueError(f"kind must be one of {', '.join(known)}, not {kind!r}")
        return known[kind].model_validate(value)

    return chosen
