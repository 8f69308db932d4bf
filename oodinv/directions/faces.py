"""Faces for fitting directions: latent codes with measures."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oodinv.directions import measures
from oodinv.errors import RecipeError
from oodinv.imaging.files import write_npz
from oodinv.weights.reading.damage import ARCHIVE_DAMAGE, NUMPY_DAMAGE


@dataclass(frozen=True, eq=False)
class MeasuredFace:
    """One face: file relative to its folder, code float32 (num_ws, w_dim), measures by name."""

    file: str
    w_plus: NDArray[np.float32]
    measures: dict[str, float]
    held_out: bool


@dataclass(frozen=True, eq=False)
class MeasuredFaces:
    """N faces: files, codes float32 (N, num_ws, w_dim), measures {name: (N,)}, flags of held-out faces (N,)."""

    files: tuple[str, ...]
    w_plus: NDArray[np.float32]
    measures: dict[str, NDArray[np.float64]]
    held_out: NDArray[np.bool_]


def stack_faces(faces: Iterable[MeasuredFace]) -> MeasuredFaces:
    """Stacks single faces; a measure that a face lacks is NaN.

    Raises:
        RecipeError: there are no faces.
    """
    items = list(faces)
    if not items:
        raise RecipeError("no file has a usable face; give photos with one face each")
    return MeasuredFaces(
        files=tuple(face.file for face in items),
        w_plus=np.stack([face.w_plus for face in items]),
        measures={m: np.array([face.measures.get(m, np.nan) for face in items]) for m in measures.NAMES},
        held_out=np.array([face.held_out for face in items]),
    )


def write_faces(path: Path, faces: MeasuredFaces) -> None:
    """Caches faces for later fits.

    Raises:
        OutputError: the file can't be written.
    """
    arrays = {f"measure_{name}": values for name, values in faces.measures.items()}
    files = np.array([file.encode(errors="surrogateescape") for file in faces.files])
    write_npz(path, files=files, w_plus=faces.w_plus, held_out=faces.held_out, **arrays)


def read_faces(path: Path) -> MeasuredFaces | None:
    """Reads the cached faces; None if there are none, or the file is incomplete."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return MeasuredFaces(
                files=tuple(file.decode(errors="surrogateescape") for file in arrays["files"].tolist()),
                w_plus=arrays["w_plus"],
                measures={name: arrays[f"measure_{name}"] for name in measures.NAMES},
                held_out=arrays["held_out"],
            )
    except (OSError, KeyError, *ARCHIVE_DAMAGE, *NUMPY_DAMAGE):
        return None
