"""What a training run is given: faces, the networks that losses look through, fixed models."""

from pathlib import Path

from torch import Tensor, nn

from oodinv.errors import WeightsError
from oodinv.faces.detectors.yunet import Yunet
from oodinv.recipe.train import FaceFolder
from oodinv.training.data import Faces, load_faces
from oodinv.training.parallel import ALONE, Team, wait
from oodinv.weights.build import GeneratorModel, load_generator, locate
from oodinv.weights.pull import pull
from oodinv.weights.reading.read import read
from oodinv.weights.translation import translate


def faces(data: FaceFolder, output: Path, team: Team = ALONE) -> Faces:
    """Training and held-out faces, decoded and aligned once into `output`/cache, by the team's leader."""
    detector = None if data.aligned else Yunet(pull("yunet"), quick=True)
    if not team.leads:
        wait(team)
    found = load_faces(data, detector, output / "cache")
    if team.leads:
        wait(team)
    return found


FixedGenerator = GeneratorModel
"""A generator that an encoder is trained for, with its card."""

fixed_generator = load_generator


def recognition_backbone(weights: str, recipe: str) -> dict[str, Tensor]:
    """The backbone of an IR-SE-50 face-recognition network, by our names.

    Raises:
        WeightsError: the file is missing, or another network.
    """
    state = translate(read(locate(weights, Path(f"recipe {recipe}")))).part("recognition")
    return {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}


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
