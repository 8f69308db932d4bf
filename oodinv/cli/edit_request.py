"""The options of `oodinv edit` as one record."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from oodinv.cli.options import Chosen, DtypeName, EngineName
from oodinv.imaging.encode import FormatName


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
    aligned: bool
    detector: str
    chosen: Chosen
    frames: Literal["first", "all"]
    format: FormatName | None
    quality: int | None
    device: str
    dtype: DtypeName
    batch_size: int
    shard: str | None
    engine: EngineName
    workers: int | None
    restart: bool
    dry_run: bool
    quiet: bool
    json: bool
