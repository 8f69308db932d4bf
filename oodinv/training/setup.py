"""Inputs of a training run: faces, fixed generators, weights to start from."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn

from oodinv.errors import WeightsError
from oodinv.faces.detectors.yunet import Yunet
from oodinv.recipe.train import FaceFolder
from oodinv.training.data import Faces
from oodinv.training.parallel import ALONE, Team, wait
from oodinv.training.photos import FaceCache
from oodinv.weights.build import GeneratorModel, load_generator, locate
from oodinv.weights.pull import pull
from oodinv.weights.reading.read import read
from oodinv.weights.translation import translate


def prepare_faces(data: FaceFolder, output: Path, team: Team = ALONE) -> Iterator[tuple[int, int]]:
    """Decodes the photos into `output`/cache unless that is done, in the team's leader; the others wait.

    Yields the number of photos done, and of all.
    """
    cache = FaceCache.of(data, output / "cache")
    if team.leads and not cache.is_complete:
        detector = None if data.aligned else Yunet(pull("yunet"), quick=True)
        for done in cache.fill(detector):
            yield done, len(cache.paths)
    wait(team)


def open_faces(data: FaceFolder, output: Path) -> Faces:
    """Opens the faces that `prepare_faces` decoded."""
    return FaceCache.of(data, output / "cache").open()


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
