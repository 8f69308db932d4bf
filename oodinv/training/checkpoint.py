"""Checkpoints: the state from which a run resumes exactly."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from oodinv.errors import WeightsError
from oodinv.imaging.files import atomic_write
from oodinv.weights.reading.rebuild import TORCH_DAMAGE


class Stateful(Protocol):
    """A module or optimiser."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


@dataclass(frozen=True)
class Checkpoint:
    """State of a run: the step, and the states of modules and optimisers by name.

    Random numbers and the position in the data are functions of the step. notes: losses that were left out.
    """

    step: int
    parts: dict[str, dict[str, Any]]
    notes: tuple[str, ...] = ()


def save(path: Path, step: int, parts: dict[str, Stateful], notes: tuple[str, ...] = ()) -> None:
    """Writes a checkpoint and then replaces the last one by it, so that a crash loses neither."""
    states = {name: part.state_dict() for name, part in parts.items()}
    state = {"step": step, "parts": states, "notes": list(notes)}
    atomic_write(path, lambda file: torch.save(state, file))


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        WeightsError: the file is missing or holds no checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(int(state["step"]), dict(state["parts"]), tuple(state.get("notes", ())))
    except FileNotFoundError as error:
        raise WeightsError(f"there is no checkpoint {path} to resume from; start without --resume") from error
    except (*TORCH_DAMAGE, OSError) as error:
        raise WeightsError(
            f"{path} is damaged, or not a checkpoint of oodinv ({error}); start again with --restart instead of "
            "--resume"
        ) from error


def restore(checkpoint: Checkpoint, parts: dict[str, Stateful], path: Path) -> None:
    """Loads the states of a checkpoint into modules and optimisers.

    Raises:
        WeightsError: the checkpoint belongs to another recipe.
    """
    if set(checkpoint.parts) != set(parts):
        raise WeightsError(
            f"{path} holds {sorted(checkpoint.parts)} but this recipe trains {sorted(parts)}; "
            "it belongs to another recipe: resume with that one, or choose another --output folder"
        )
    for name, part in parts.items():
        try:
            part.load_state_dict(checkpoint.parts[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise WeightsError(f"{path}: {name} doesn't fit this recipe: {error}") from error
