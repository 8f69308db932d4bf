"""Editable GAN inversion of face photos that keeps what the generator cannot draw."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from oodinv.api import PhotoEditor, Result
    from oodinv.inversion import Dtype

__version__ = "0.1.0"

DEFAULT_MODEL = "ffhq-mobile"
"""Name of the model that commands use unless they are told otherwise."""

__all__ = ["DEFAULT_MODEL", "PhotoEditor", "Result", "__version__", "load"]


def load(
    model: "str | os.PathLike[str]" = DEFAULT_MODEL,
    *,
    device: str = "auto",
    dtype: "Dtype" = "float32",
    detector: str = "yunet",
    refine: int | None = None,
    tune: int | None = None,
) -> "PhotoEditor":
    """Loads a model and a face detector, to invert and edit photos with.

    model: name of a model, or a card as FILE.yaml. device: auto, cpu, cuda or cuda:N. dtype: number format of
    convolutions and matrix products. detector: name of a face detector. refine, tune: optimisation steps for codes and
    noise of each face, and for the generator before a face is edited; by default the card's numbers. Weights that are
    missing are fetched.

    Raises:
        RecipeError: there is no such model. WeightsError: a weight file is missing, damaged or of another kind.
        ValueError: there is no such device, detector or number format, or `refine` or `tune` is no
        number of steps.
    """
    from oodinv.api import load_editor  # imports torch, which takes a second

    return load_editor(model, device, dtype, detector, refine, tune)


def __getattr__(name: str) -> Any:
    """Imports the classes of the Python interface, and torch with them, when they are first asked for."""
    if name not in ("PhotoEditor", "Result"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from oodinv import api

    return getattr(api, name)
