"""The options of `oodinv edit` as one record."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from oodinv.cli.groups import ComputeOptions, FaceOptions, FormatOptions, MessageOptions


@dataclass(frozen=True)
class Request:
    """Values of the options of `oodinv edit`, each valid by itself."""

    inputs: list[Path]
    recipe: str
    output: Path | None
    factors: list[float]
    force: bool
    model: str | None
    mask: Literal["unedited", "edited"] | None
    compose: dict[str, Any]
    preview: bool
    refine: int | None
    tune: int | None
    aligned: bool
    select: FaceOptions
    files: FormatOptions
    compute: ComputeOptions
    restart: bool
    dry_run: bool
    messages: MessageOptions
