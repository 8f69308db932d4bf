"""The records of a family, chosen by `kind` from those that are registered."""

from collections.abc import Callable, Mapping
from typing import Any

from oodinv.models import encoders, generators
from oodinv.records import Strict

Records = Mapping[str, type[Strict]]


def generator_cards() -> Records:
    """The record of each family of generators in a model card."""
    return {family.kind: family.card for family in generators.GENERATORS}


def encoder_cards() -> Records:
    """The record of each family of encoders in a model card."""
    return {family.kind: family.card for family in encoders.ENCODERS}


def encoder_plans() -> Records:
    """The record of each family of encoders in a training recipe."""
    return {family.kind: family.plan for family in encoders.ENCODERS}


def by_kind(records: Callable[[], Records], default: str | None = None) -> Callable[[Any], Any]:
    """A pydantic validator that reads a mapping as the record of its `kind`, or of the default kind.

    It raises ValueError for a kind that is not registered; what is no mapping is left to pydantic.
    """

    def chosen(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        kind, known = value.get("kind", default), records()
        if not isinstance(kind, str) or kind not in known:
            raise ValueError(f"kind must be one of {', '.join(known)}, not {kind!r}")
        return known[kind].model_validate(value)

    return chosen
