"""The file of the face parser, which belongs to no model: it looks at crops alone."""

import json
from functools import lru_cache
from pathlib import Path

from oodinv.errors import WeightsError
from oodinv.models.perceptors.face_parser import FaceParser
from oodinv.recipe.base import data_folder
from oodinv.weights import native
from oodinv.weights.reading.read import read

FILE = "face-parser.safetensors"


def read_parser(path: Path) -> FaceParser:
    """Reads a parser, in evaluation mode and without gradients.

    Raises:
        WeightsError: the file contains something else, or is damaged.
    """
    file = read(path)
    try:
        if file.settings.get("kind") != FaceParser.kind:
            raise ValueError(f"it holds {file.settings.get('kind')!r}")
        parser = FaceParser(**json.loads(str(file.settings["config"])))
        parser.load_state_dict(native.as_float32(file.tensors))
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path}: is not a file of a face parser ({error}); run `oodinv train parser`") from error
    return parser.eval().requires_grad_(False)


@lru_cache(maxsize=1)
def load_parser() -> FaceParser:
    """Loads the shipped parser, on the CPU.

    Raises:
        WeightsError: its file is damaged.
    """
    return read_parser(data_folder("pretrained") / FILE)
