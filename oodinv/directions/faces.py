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
class Face:
    """One face: file relative to its folder, code float32 (num_ws, w_dim), measures by name."""

    file: str
    w_plus: NDArray[np.float32]
    measures: dict[str, float]
    held_out: bool


@dataclass(frozen=True, eq=False)
class Faces:
    """N faces: files, codes float32 (N, num_ws, w_dim), measures {name: (N,)}, which ones are held out (N,)."""

    files: tuple[str, ...]
    w_plus: NDArray[np.float32]
    measures: dict[str, NDArray[np.float64]]
    held_out: NDArray[np.bool_]


def gather(faces: Iterable[Face]) -> Faces:
    """Stacks single faces; a measure that a face lacks is NaN.

    Raises:
        RecipeError: there is none.
    """
    items = list(faces)
    if not items:
        raise RecipeError("no usable face among the files; directions are fitted to photos with one face each")
    return Faces(
        files=tuple(face.file for face in items),
        w_plus=np.stack([face.w_plus for face in items]),
        measures={m: np.array([face.measures.get(m, np.nan) for face in items]) for m in measures.NAMES},
        held_out=np.array([face.held_out for face in items]),
    )


def store(path: Path, faces: Faces) -> None:
    """Caches faces for later fits.

    Raises:
        OutputError: the file can't be written.
    """
    arrays = {f"measure_{name}": values for name, values in faces.measures.items()}
    files = np.array([file.encode(errors="surrogateescape") for file in faces.files])
    write_npz(path, files=files, w_plus=faces.w_plus, held_out=faces.held_out, **arrays)


def recall(path: Path) -> Faces | None:
    """Reads the cached faces; None if there are none, or the file is incomplete."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Faces(
                files=tuple(file.decode(errors="surrogateescape") for file in arrays["files"].tolist()),
                w_plus=arrays["w_plus"],
                measures={name: arrays[f"measure_{name}"] for name in measures.NAMES},
                held_out=arrays["held_out"],
            )
    except (OSError, KeyError, *ARCHIVE_DAMAGE, *NUMPY_DAMAGE):
        return None
