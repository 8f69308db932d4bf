"""What a training run is given: device, faces, perceptual network, fixed model."""

from pathlib import Path

from torch import nn

from oodinv import device as devices
from oodinv.align import Yunet
from oodinv.errors import RecipeError, WeightsError
from oodinv.models.perceptual import Lpips
from oodinv.recipe import FaceFolder, find_card, read_card
from oodinv.training.data import Faces, load_faces
from oodinv.training.device import Compute, Precision, compute_for
from oodinv.weights.build import Model, load_lpips, load_model
from oodinv.weights.pull import pull


def compute(device: str, precision: Precision) -> Compute:
    """Device and precision.

    Raises:
        RecipeError: there is no such device.
    """
    try:
        return compute_for(devices.choose(device), precision)
    except (ValueError, RuntimeError) as error:
        raise RecipeError(str(error)) from error


def faces(data: FaceFolder, output: Path) -> Faces:
    """Training and held-out faces, decoded and aligned once into `output`/cache."""
    detector = None if data.aligned else Yunet(pull("yunet"), quick=True)
    return load_faces(data, detector, output / "cache")


def lpips() -> Lpips:
    """The AlexNet variant of LPIPS, frozen."""
    return load_lpips("alexnet")


def take_over(module: nn.Module, source: nn.Module | None, card: Path) -> None:
    """Gives a module the weights of another that was made with the same sizes.

    Raises:
        WeightsError: there is none, or its sizes differ.
    """
    if source is None:
        raise WeightsError(f"{card} has no {type(module).__name__} to start from; leave out --init")
    try:
        module.load_state_dict(source.state_dict())
    except RuntimeError as error:
        raise WeightsError(f"{card} has other sizes than this recipe: {error}; leave out --init") from error


def base_model(card: str) -> Model:
    """A model by name or card, on the CPU in float32."""
    path = find_card(card)
    return load_model(read_card(path), path)
