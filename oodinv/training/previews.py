"""Files of preview heads, and dlib's recognition network from the catalog."""

import json
from pathlib import Path

import safetensors.torch

from oodinv.errors import WeightsError
from oodinv.imaging.files import atomic_write
from oodinv.models.perceptors.dlib_face import DlibFace
from oodinv.models.preview import PreviewHead
from oodinv.recipe.base import data_folder
from oodinv.weights.build import locate
from oodinv.weights.pull import pull
from oodinv.weights.reading.dlib import read_dlib
from oodinv.weights.reading.read import read

KIND = "preview_heads"


def save_heads(path: Path, heads: dict[int, PreviewHead]) -> None:
    """Writes heads in float16, with the arguments of their constructors."""
    state = {
        f"{key}.{name}": value.half().cpu().contiguous()
        for key, head in heads.items()
        for name, value in head.state_dict().items()
    }
    config = json.dumps({key: head.config() for key, head in heads.items()})
    content = safetensors.torch.save(state, {"format": "oodinv", "kind": KIND, "config": config})
    atomic_write(path, lambda file: file.write(content))


def load_heads(weights: str, source: str) -> dict[int, PreviewHead]:
    """Reads heads by their blocks; `weights` lies here, among the shipped models, or in the cache.

    Raises:
        MissingWeights: there is no such file; `source` names what asks for it. WeightsError: it holds something else.
    """
    shipped = data_folder("pretrained") / weights
    path = shipped if shipped.is_file() else locate(weights, Path(source))
    file = read(path)
    try:
        if file.settings.get("kind") != KIND:
            raise ValueError(f"it holds {file.settings.get('kind')!r}")
        heads = {}
        for key, config in json.loads(str(file.settings["config"])).items():
            head = PreviewHead(**config)
            names = head.state_dict()
            head.load_state_dict({name: file.tensors[f"{key}.{name}"].float() for name in names})
            heads[int(key)] = head.eval()
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path}: is no file of preview heads ({error}); train them with `train heads`") from error
    return heads


def load_dlib_face() -> DlibFace:
    """dlib's face recognition network, frozen; fetched if need be.

    Raises:
        WeightsError: its file can't be had, or is damaged.
    """
    path = pull("dlib-face")
    network = DlibFace()
    try:
        network.load_layers(read_dlib(path))
    except ValueError as error:
        raise WeightsError(f"{path}: {error}; fetch it again") from error
    return network.eval().requires_grad_(False)
