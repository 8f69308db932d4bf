"""Files of preview heads."""

import json
from pathlib import Path

import safetensors.torch

from oodinv.errors import WeightsError
from oodinv.imaging.files import atomic_write
from oodinv.models.preview import PreviewHead
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


def read_heads(path: Path) -> dict[int, PreviewHead]:
    """Reads heads by their blocks, frozen.

    Raises:
        WeightsError: the file contains something else.
    """
    file = read(path)
    try:
        if file.settings.get("kind") != KIND:
            raise ValueError(f"it holds {file.settings.get('kind')!r}")
        heads = {}
        for key, config in json.loads(str(file.settings["config"])).items():
            head = PreviewHead(**config)
            names = head.state_dict()
            head.load_state_dict({name: file.tensors[f"{key}.{name}"].float() for name in names})
            heads[int(key)] = head.eval().requires_grad_(False)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path}: is not a file of preview heads ({error}); run `oodinv train heads`") from error
    return heads
