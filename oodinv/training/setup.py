"""What a training run is given: faces, the networks that losses look through, fixed models."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from oodinv.errors import WeightsError
from oodinv.faces.detectors.yunet import Yunet
from oodinv.models.generators.base import Generator
from oodinv.recipe.base import read_yaml
from oodinv.recipe.card import GeneratorOnlyCard, find_card
from oodinv.recipe.train import FaceFolder
from oodinv.training.data import Faces, load_faces
from oodinv.training.parallel import ALONE, Team, wait
from oodinv.weights.build import locate
from oodinv.weights.families import build_generator
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


@dataclass(frozen=True)
class FixedGenerator:
    """A generator that an encoder is trained for, with its card."""

    card: GeneratorOnlyCard
    path: Path
    generator: Generator


def fixed_generator(card: str) -> FixedGenerator:
    """The generator of a model, or of a card that has no encoder yet, on the CPU in float32.

    Raises:
        WeightsError: its file is missing, damaged, or made for another size than the card says.
    """
    path = find_card(card)
    parsed: GeneratorOnlyCard = read_yaml(path, GeneratorOnlyCard)
    file = locate(parsed.generator.weights, path)
    generator = build_generator(translate(read(file)), parsed.generator)
    if generator.size != parsed.size:
        raise WeightsError(f"{file}: makes images of {generator.size} px, and {path} says {parsed.size}; correct it")
    return FixedGenerator(parsed, path, generator)


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
